"""The editor's node without a browser, and the nodes that take tracks from a video or a mask."""

from __future__ import annotations

import json

import pytest
import torch
from comfyui_trajectory.nodes import NODE_CLASS_MAPPINGS as nodes
from comfyui_trajectory.nodes.editor import convert_tracks
from comfyui_trajectory.nodes.inputs import InputError
from comfyui_trajectory.trajectory import Tracks, parse_coordinates, write_tracks

STATE = json.dumps({
    "version": 1, "canvas": {"width": 64, "height": 32}, "frames": 5, "fps": 8,
    "tracks": [{"id": "t1", "name": "wing", "color": "#ff0000", "interpolation": "linear",
                "points": [{"x": 8, "y": 16.25}, {"x": 56, "y": 16.25}], "visibility": [[0, 3]]}],
})  # fmt: skip


def run(**inputs):
    return nodes["TrajectorySplineEditor"]().evaluate(**inputs)


def test_a_drawing_gives_tracks_coordinates_and_an_overlay_without_a_browser():
    made = run(frames=5, fps=8.0, editor_state=STATE)
    value, coordinates, overlay = made["result"]
    tracks = Tracks.from_comfy(value)
    assert tracks.path[:, 0].tolist() == [[8, 16.25], [20, 16.25], [32, 16.25], [44, 16.25], [56, 16.25]]
    assert tracks.visibility[:, 0].tolist() == [True] * 4 + [False] and (tracks.canvas, tracks.fps) == ((64, 32), 8)
    assert torch.equal(parse_coordinates(coordinates).path, tracks.path)
    assert overlay.shape == (1, 32, 64, 3)
    red = overlay[0, 16, 30]  # in the track's own colour
    assert red[0] > 0.3 and red[0] > 3 * red[1:].max()
    sent = json.loads(json.dumps(made["ui"]))
    assert sent["trajectory_canvas"] == [{"width": 64, "height": 32, "frames": 5, "fps": 8.0}]


def test_the_canvas_is_the_pictures_unless_a_size_is_given():
    picture = torch.zeros(3, 64, 128, 3)
    tracks = Tracks.from_comfy(run(editor_state=STATE, image=picture)["result"][0])
    assert tracks.canvas == (128, 64) and tracks.frames == 81 and tracks.path[0, 0].tolist() == [16, 32.5]
    made = run(width=32, height=32, editor_state=STATE, image=picture)["result"]
    assert Tracks.from_comfy(made[0]).path[0, 0].tolist() == [4, 16.25]
    assert made[2].shape == (1, 64, 128, 3)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "editor_state: nothing is drawn yet: open the editor"),
        ({"editor_state": "{"}, "editor_state: The drawing is not valid JSON"),
        ({"editor_state": STATE.replace("16.25", '"<script>"')}, 'editor_state: Track "wing" (t1), points[0].y'),
        ({"editor_state": STATE, "width": 64}, "width, height: 64x0 is no size"),
        ({"editor_state": STATE, "image": torch.zeros(3)}, "image: an IMAGE is"),
    ],
)
def test_faults_name_the_input_and_what_to_do(inputs, message):
    with pytest.raises(InputError) as error:
        run(**inputs)
    assert str(error.value).startswith(message)


def test_track_files_are_converted_for_the_editor_and_no_other_file_is_opened(tmp_path):
    tracks = Tracks.from_editor(STATE)
    for ending in ("json", "npz", "pth", "npy"):
        path = write_tracks(tmp_path / f"x.{ending}", tracks)
        document = convert_tracks(path.read_bytes(), {"name": f"../../{tmp_path}/x.{ending}"})
        assert document["format"] == "trajectory-tracks" and len(document["tracks"]) == 1
        if ending == "npy":
            assert document["tracks"][0]["visible"] == [1] * 5  # x_visibility.npy stands beside it, unread
    with pytest.raises(ValueError, match="evil.bin: not a format"):
        convert_tracks(b"\x00\x01", {"name": "evil.bin"})


def test_points_of_a_mask_go_with_their_leader():
    mask = torch.zeros(1, 32, 64)
    mask[0, 8:24, 4:14] = 1
    leader = Tracks.from_editor(STATE).to_comfy()
    (value,) = nodes["TrajectoryFromMask"]().spread(mask, leader, 6)
    tracks = Tracks.from_comfy(value)
    assert tracks.count == 6 and torch.allclose(tracks.path[-1] - tracks.path[0], torch.tensor([48.0, 0.0]))
    assert not tracks.visibility[-1].any()
    with pytest.raises(InputError, match="mask: nothing is white"):
        nodes["TrajectoryFromMask"]().spread(torch.zeros(1, 8, 8), leader)


def test_a_still_video_gives_still_tracks_from_a_grid_a_mask_or_tracks():
    pytest.importorskip("cv2")
    follow = nodes["TrajectoryFromVideo"]().follow
    video = torch.rand(1, 40, 60, 3, generator=torch.Generator().manual_seed(1)).repeat(2, 1, 1, 1)
    mask = torch.ones(1, 20, 30)
    given = Tracks.from_editor(STATE).to_comfy()
    grid, spread, drawn = {"columns": 2, "rows": 1}, {"mask": mask, "points": 3}, {"tracks": given, "start_frame": 1}
    for inputs, expected in ((grid, 2), (spread, 3), (drawn, 1)):
        tracks = Tracks.from_comfy(follow(video, tolerance=0.0, **inputs)[0])
        assert (tracks.frames, tracks.count, tracks.canvas) == (2, expected, (60, 40))
        assert torch.allclose(tracks.path[0], tracks.path[1], atol=0.05) and tracks.visibility.all()
    with pytest.raises(InputError, match="start_frame: 2 is not among the video.s 2 frames"):
        follow(video, start_frame=2)
    with pytest.raises(InputError, match="connect only one"):
        follow(video, mask=mask, tracks=given)
