"""Camera poses: moves, joining, files, tracks of them, pictures. The official presets' numbers are golden cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from comfyui_trajectory.models.easyanimate.camera import pluecker_video
from comfyui_trajectory.trajectory import TracksError
from comfyui_trajectory.trajectory.draw_poses import BACKGROUND, draw_poses
from comfyui_trajectory.trajectory.moves import EASES, MOVES, in_sequence, poses_of
from comfyui_trajectory.trajectory.pose_files import parse_poses, read_poses, to_json, to_text, write_poses
from comfyui_trajectory.trajectory.poses import CameraPoses
from comfyui_trajectory.trajectory.project import depth_of_brightness, tracks_of_poses

SIZE = (672, 384)


def centre_of(poses: CameraPoses, point) -> np.ndarray:
    """[frames, 3] where a point of the world is in the axes of each camera."""
    matrices = poses.world_to_camera
    return matrices[:, :, :3] @ np.asarray(point, float) + matrices[:, :, 3]


def way(poses: CameraPoses) -> np.ndarray:
    """[3] where the camera ends, in the axes of the first."""
    return poses.relative()[-1, :3, 3]


@pytest.mark.parametrize(
    "name, axis, sign",
    [("Pan Left", 0, -1), ("Pan Right", 0, 1), ("Pan Up", 1, -1), ("Pan Down", 1, 1), ("Zoom In", 2, 1), ("Zoom Out",
    2, -1),
     ("Dolly In", 2, 1), ("Orbit Left", 0, -1), ("Orbit Right", 0, 1), ("Orbit Up", 1, -1), ("Orbit Down", 1, 1)],
)  # fmt: skip
def test_a_move_goes_where_its_name_says(name, axis, sign):
    end = way(poses_of([name], 25))
    assert np.argmax(np.abs(end)) == axis and np.sign(end[axis]) == sign


@pytest.mark.parametrize(
    "name, axis, sign", [("Turn Left", 0, -1), ("Turn Right", 0, 1), ("Tilt Up", 1, -1), ("Tilt Down", 1, 1)]
)
def test_a_turn_looks_where_its_name_says_and_stays_where_it_is(name, axis, sign):
    poses = poses_of([name], 25)
    looks = poses.relative()[-1, :3, 2]
    assert np.abs(way(poses)).max() < 1e-12 and np.sign(looks[axis]) == sign and abs(looks[axis]) > 0.3


@pytest.mark.parametrize("name", ["Orbit Left", "Orbit Right", "Orbit Up", "Orbit Down"])
def test_an_orbit_keeps_its_point_in_the_middle_and_at_its_distance(name):
    poses = poses_of([name], 25, distance=4.0)
    np.testing.assert_allclose(centre_of(poses, (0, 0, 4.0)), np.tile([0, 0, 4.0], (25, 1)), atol=1e-12)
    assert np.linalg.norm(way(poses)) > 1


def test_a_lens_zoom_doubles_the_focal_length_and_moves_nothing():
    poses = poses_of(["Lens Zoom In"], 101)
    np.testing.assert_allclose(poses.lens[100, :2] / poses.lens[0, :2], 2 ** (100 / 101))
    assert np.abs(way(poses)).max() == 0


def test_moves_at_once_add_up_and_in_sequence_go_on_where_the_last_ended():
    both = poses_of(["Pan Left", "Zoom In"], 10)
    np.testing.assert_allclose(way(both), way(poses_of(["Pan Left"], 10)) + way(poses_of(["Zoom In"], 10)))
    turn = in_sequence(["ACW", "Pan Left", "Turn Right"], 31)
    assert turn.frames == 31
    steps = np.linalg.norm(np.diff(turn.relative()[:, :3, 3], axis=0), axis=1)
    assert steps.max() < 0.2, "no jump where one move follows another"


@pytest.mark.parametrize("ease", EASES)
def test_eases_begin_at_rest_position_and_never_turn_back(ease):
    shift = poses_of(["Pan Left"], 60, ease=ease).world_to_camera[:, 0, 3]
    assert shift[0] == 0 and (np.diff(shift) >= 0).all() and 1.3 < shift[-1] < 1.5


def test_speed_scales_and_turns_a_move_round():
    assert way(poses_of(["Pan Left"], 8, speed=-2.0))[0] == pytest.approx(-2 * way(poses_of(["Pan Left"], 8))[0])


def test_text_and_json_bring_back_the_same_poses(tmp_path):
    poses = in_sequence(["ACW", "Orbit Up", "Lens Zoom In"], 9)
    for again in (
        parse_poses(to_text(poses)),
        parse_poses(to_json(poses)),
        read_poses(write_poses(tmp_path / "a.txt", poses)),
    ):
        np.testing.assert_allclose(again.world_to_camera, poses.world_to_camera, atol=1e-8)
        np.testing.assert_allclose(again.lens, poses.lens, atol=1e-8)


@pytest.mark.parametrize("first", ["", "https://example.invalid/watch?v=clip\n", "\n  \n"])
def test_a_file_without_a_first_line_keeps_its_first_pose(first):
    lines = to_text(poses_of(["Pan Left"], 3)).split("\n", 1)[1]
    poses = parse_poses(first + lines.replace(" ", "   ") + "\n\n")
    assert poses.frames == 3 and poses.world_to_camera[1, 0, 3] == pytest.approx(0.5)


@pytest.mark.parametrize(
    "text, message",
    [("", "no camera poses"), ("clip\n", "no camera poses"), ("clip\n1 2 3\n", "line 2 .* 3 numbers"),
     ("clip\n" + "x " * 19, "line 2 .* not made of numbers"), ("[[1, 2]]", "pose 0 .* 2 numbers"), ("[1]", "pose 0"),
     ("[", "none: "), ("0 .5 .8 .5 .5 0 0 2 0 0 0 0 1 0 0 0 0 1 0", "pose 0: .* no rotation"),
     ("0 nan .8 .5 .5 0 0 1 0 0 0 0 1 0 0 0 0 1 0", "pose 0: .*NaN"),
     ("0 0 .8 .5 .5 0 0 1 0 0 0 0 1 0 0 0 0 1 0", "focal lengths")],
)  # fmt: skip
def test_bad_poses_are_told_by_line(text, message):
    with pytest.raises(TracksError, match=message):
        parse_poses(text)


def test_a_missing_or_binary_file_is_named(tmp_path):
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    for name in ("gone.txt", "b.txt"):
        with pytest.raises(TracksError, match=name):
            read_poses(tmp_path / name)


@pytest.mark.parametrize("bad", [{"frames": 0}, {"speed": float("nan")}, {"distance": 0.0}, {"ease": "jump"}])
def test_a_move_that_cannot_be_made_says_why(bad):
    options = {"frames": 5, **bad}
    with pytest.raises(TracksError, match="at least one" if "frames" in bad else next(iter(bad))):
        poses_of(["Pan Left"], options.pop("frames"), **options)
    with pytest.raises(TracksError, match="no camera move"):
        poses_of(["Pan"], 5)


def test_resampling_keeps_the_ends_and_a_steady_roll_steady():
    poses = poses_of(["ACW", "Pan Left"], 9)
    longer = poses.resample(33)
    np.testing.assert_allclose(longer.world_to_camera[[0, -1]], poses.world_to_camera[[0, -1]], atol=1e-9)
    np.testing.assert_allclose(longer.world_to_camera[::4], poses.world_to_camera, atol=1e-9)
    turned = [np.arccos(np.clip((np.trace(a.T @ b) - 1) / 2, -1, 1)) for a, b in
              zip(longer.world_to_camera[:, :, :3], longer.world_to_camera[1:, :, :3])]  # fmt: skip
    assert np.ptp(turned) < 1e-2 * np.mean(turned)


def test_three_poses_are_crossed_over_the_axes_not_over_time():
    rays = pluecker_video(poses_of(["Pan Left"], 3), 8, 8)[0]
    moment, direction = rays.split(3)
    assert (moment * direction).sum(0).abs().max() < 1e-6, "a moment is at right angles to its ray"
    assert torch.allclose(rays, pluecker_video(poses_of(["Pan Left"], 3).resample(5), 8, 8)[0, :, ::2], atol=1e-6)


def test_tracks_of_a_pan_slide_against_the_camera_as_far_as_the_lens_says():
    poses = poses_of(["Pan Left"], 11)
    tracks = tracks_of_poses(poses, *SIZE, depth=3.0)
    moved = tracks.path[-1] - tracks.path[0]
    focal = poses.pixel_lens(*SIZE)[0, 0]
    assert torch.allclose(moved[:, 0], torch.full((24,), 1.5 * 10 / 11 / 3.0 * float(focal)), atol=1e-2)
    assert moved[:, 1].abs().max() < 1e-3 and tracks.canvas == SIZE and tracks.visibility.all()


def test_what_is_nearer_moves_more_and_what_falls_behind_is_invisible():
    near = depth_of_brightness(np.array([[0.0, 1.0]]), 3.0)  # the right half is near
    np.testing.assert_allclose(near, [[6.0, 1.5]])
    moved = tracks_of_poses(poses_of(["Pan Left"], 5), *SIZE, columns=2, rows=1, depth=near).path
    left, right = (moved[-1] - moved[0])[:, 0]
    assert float(right) == pytest.approx(4 * float(left), rel=1e-3)
    through = tracks_of_poses(poses_of(["Zoom In"], 20), *SIZE, depth=1.0)
    assert through.visibility[0].all() and not through.visibility[-1].any()
    assert torch.isfinite(through.path).all()
    with pytest.raises(TracksError, match="above 0"):
        tracks_of_poses(poses_of(["Zoom In"], 2), *SIZE, depth=0.0)


@pytest.mark.parametrize("name", MOVES)
def test_the_picture_shows_a_way_for_every_move(name):
    picture = draw_poses(poses_of([name], 17), 128)
    assert picture.shape == (128, 256, 3) and picture.dtype == np.uint8
    drawn = (picture.astype(int) - BACKGROUND).clip(0).sum(-1) > 150
    assert drawn[:, :128].any() and drawn[:, 128:].any()
