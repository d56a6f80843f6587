"""The Tracks type: what it accepts, what it refuses, and what its operations do."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from comfyui_trajectory.trajectory import Tracks, TracksError


def line(frames: int = 5, count: int = 1, canvas=(100, 50), fps=None) -> Tracks:
    """x = 10 a frame, y = 20 a track."""
    path = torch.zeros(frames, count, 2)
    path[..., 0] = 10 * torch.arange(frames)[:, None]
    path[..., 1] = 20 * torch.arange(count)
    return Tracks(path, torch.ones(frames, count, dtype=torch.bool), canvas, fps)


def test_arrays_and_lists_become_float32_and_bool():
    tracks = Tracks(np.ones((3, 2, 2)), [[1, 0], [0.9, 0.1], [True, False]], [640.0, 480], 16)
    assert tracks.path.dtype == torch.float32 and tracks.visibility.tolist() == [[True, False]] * 3
    assert (tracks.frames, tracks.count, tracks.canvas, tracks.fps) == (3, 2, (640, 480), 16.0)


@pytest.mark.parametrize("path, visibility, message", [
    (torch.zeros(3, 0, 2), torch.ones(3, 0), "at least one track"),
    (torch.zeros(0, 3, 2), torch.ones(0, 3), "at least one"),
    (torch.zeros(3, 2), torch.ones(3, 2), r"\[frames, tracks, 2\]"),
    (torch.zeros(3, 2, 2), torch.ones(2, 3), "visibility"),
    (torch.zeros(1, 1, 2).expand(3000, 3000, 2), torch.ones(1, 1), "at most"),
    ("nonsense", [[1]], "array of numbers"),
])  # fmt: skip
def test_shapes_that_are_no_tracks_are_refused(path, visibility, message):
    with pytest.raises(TracksError, match=message):
        Tracks(path, visibility)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9])
def test_a_position_that_is_no_pixel_names_its_track_and_frame(value):
    path = torch.zeros(4, 3, 2)
    path[2, 1, 0] = value
    with pytest.raises(TracksError, match="Track 1, frame 2"):
        Tracks(path, torch.ones(4, 3))


@pytest.mark.parametrize("canvas, fps", [
    ((0, 5), None), ((5,), None), ("ab", None), ((10**9, 5), None), (None, 0), (None, float("nan")),
])  # fmt: skip
def test_a_canvas_or_rate_that_is_none_is_refused(canvas, fps):
    with pytest.raises(TracksError):
        Tracks(torch.zeros(1, 1, 2), torch.ones(1, 1), canvas, fps)


@pytest.mark.parametrize("source, frames", [(2, 81), (5, 17), (121, 81), (81, 121), (40, 7)])
def test_resampling_drives_the_whole_clip_linearly(source, frames):
    tracks = line(source).resample(frames)
    expected = torch.linspace(0, 10 * (source - 1), frames)
    assert tracks.frames == frames and torch.allclose(tracks.path[:, 0, 0], expected, atol=1e-3)


def test_one_point_is_held_and_one_frame_is_the_first():
    assert (line(1).resample(9).path == line(1).path).all()
    assert (line(9).resample(1).path == line(9).path[:1]).all()


def test_visibility_is_that_of_the_nearest_frame():
    tracks = Tracks(torch.zeros(3, 1, 2), [[True], [False], [True]])
    assert tracks.resample(5).visibility[:, 0].tolist() == [True, False, False, True, True]
    assert tracks.resample(9).resample(3).visibility[:, 0].tolist() == [True, False, True]


def test_resampling_keeps_the_duration():
    assert line(121, fps=24).resample(81).fps == pytest.approx(16)


def test_a_resampling_without_frames_or_beyond_memory_is_refused():
    for frames in (0, -1, 10**9):
        with pytest.raises(TracksError):
            line().resample(frames)


def test_resizing_scales_to_the_other_canvas():
    tracks = line().resize(200, 25)
    assert tracks.canvas == (200, 25) and torch.equal(tracks.path, line().path * torch.tensor([2.0, 0.5]))
    assert line(canvas=None).resize(20, 20, source=(10, 10)).path[1, 0, 0] == 20
    with pytest.raises(TracksError, match="source"):
        line(canvas=None).resize(20, 20)


def test_merging_resamples_to_the_longest_and_resizes_to_the_first_canvas():
    merged = line(3).merge(line(5, 2, canvas=(200, 50)), line(5, canvas=None))
    assert (merged.frames, merged.count, merged.canvas) == (5, 4, (100, 50))
    assert merged.path[-1, :, 0].tolist() == [20, 20, 20, 40]


def test_panning_by_a_number_or_frame_by_frame():
    assert line().pan(3, -4).path[0, 0].tolist() == [3, -4]
    assert line(3).pan(torch.tensor([0.0, 5, 10]), 0).path[:, 0, 0].tolist() == [0, 15, 30]
    with pytest.raises(TracksError, match="values"):
        line(3).pan(torch.zeros(4), 0)


def test_zoom_and_rotation_turn_round_the_middle_of_the_canvas():
    assert line(1).zoom(2).path[0, 0].tolist() == [-50, -25]
    turned = line(1).rotate(90).path[0, 0]  # clockwise on the screen
    assert torch.allclose(turned, torch.tensor([75.0, -25]), atol=1e-4)
    assert line(1).zoom(3, center=(0, 0)).path[0, 0].tolist() == [0, 0]
    with pytest.raises(TracksError, match="center"):
        line(1, canvas=None).zoom(2)


def test_shifting_time_holds_the_ends():
    assert line().shift_time(2).path[:, 0, 0].tolist() == [0, 0, 0, 10, 20]
    assert line().shift_time(-1.5).path[:, 0, 0].tolist() == [15, 25, 35, 40, 40]


def test_clipping_hides_what_is_off_the_canvas_and_keeps_positions():
    path = torch.tensor([[[-0.1, 5.0], [0, 0], [99.9, 49.9], [100, 5]]])
    clipped = Tracks(path, torch.ones(1, 4), (100, 50)).clip()
    assert clipped.visibility.tolist() == [[False, True, True, False]] and torch.equal(clipped.path, path)


def test_the_comfy_socket_takes_and_gives_the_dict_of_core_nodes():
    tracks = line(4, 3, fps=16)
    value = tracks.to_comfy()
    assert value["track_path"].shape == (4, 3, 2) and value["track_visibility"].dtype == torch.bool
    assert (value["canvas"], value["fps"]) == ((100, 50), 16)
    assert set(line(canvas=None).to_comfy()) == {"track_path", "track_visibility"}
    assert torch.equal(Tracks.from_comfy(value).path, tracks.path)


@pytest.mark.parametrize("visibility, expected", [
    (None, [[True, True], [True, True]]),
    (torch.tensor([[True], [False]]), [[True, True], [False, False]]),  # core nodes make one column from a mask
    (torch.tensor([[True]]), [[True, True], [True, True]]),
    (np.array([[1.0, 0.0], [0.0, 1.0]]), [[True, False], [False, True]]),
])  # fmt: skip
def test_the_comfy_socket_accepts_every_visibility_that_core_nodes_make(visibility, expected):
    value = {"track_path": [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]}
    if visibility is not None:
        value["track_visibility"] = visibility
    assert Tracks.from_comfy(value).visibility.tolist() == expected


@pytest.mark.parametrize("value", [
    None, {}, {"track_path": None}, {"track_path": torch.zeros(2, 2, 2), "track_visibility": torch.ones(3, 2)},
])  # fmt: skip
def test_what_is_no_comfy_tracks_is_refused(value):
    with pytest.raises(TracksError):
        Tracks.from_comfy(value)


def test_importing_needs_no_opencv_and_no_comfyui():
    code = (
        "import sys, types\n"
        "package = types.ModuleType('p'); package.__path__ = [sys.argv[1]]; sys.modules['p'] = package\n"
        "sys.modules['cv2'] = sys.modules['comfy'] = sys.modules['scipy'] = None\nimport p.trajectory\n"
    )
    root = __file__.rsplit("/tests/", 1)[0]
    subprocess.run([sys.executable, "-c", code, root], check=True)
