"""Camera moves: what a steady pan, zoom or rotation does to a grid and to given tracks."""

import pytest
import torch
from comfyui_trajectory.trajectory import Tracks, TracksError
from comfyui_trajectory.trajectory.camera import camera, grid


def test_a_grid_stands_in_the_middle_of_its_cells_row_by_row():
    tracks = grid(80, 40, 3, columns=4, rows=2)
    assert tracks.path[0, :5].tolist() == [[10, 10], [30, 10], [50, 10], [70, 10], [10, 30]]
    assert (tracks.path[2] == tracks.path[0]).all() and tracks.visibility.all() and tracks.canvas == (80, 40)


@pytest.mark.parametrize("columns, rows, frames", [(0, 1, 3), (-2, -2, 3), (1, 1, 0), (3000, 3000, 3)])
def test_a_grid_without_points_or_with_too_many_is_refused(columns, rows, frames):
    with pytest.raises(TracksError):
        grid(80, 40, frames, columns=columns, rows=rows)


def test_a_pan_moves_every_point_by_the_same_each_frame():
    rest = grid(80, 40, 5)
    moved = camera(rest, pan=(2, -1))
    assert torch.allclose(moved.path[4] - rest.path[4], torch.tensor([8.0, -4.0]), atol=1e-4)
    percent = camera(rest, pan=(10, 10), unit="percent")
    assert torch.allclose(percent.path[1] - rest.path[1], torch.tensor([8.0, 4.0]), atol=1e-4)


def test_a_zoom_in_percent_compounds_and_in_pixels_moves_the_nearest_edge():
    point = Tracks([[[40.0, 0.0]]] * 3, [[1]] * 3, (80, 40))
    assert torch.allclose(camera(point, zoom=10, unit="percent").path[:, 0, 1], torch.tensor([0, -2, -4.2]), atol=1e-4)
    assert camera(point, zoom=3).path[:, 0, 1].tolist() == [0, -3, -6]


def test_a_rotation_turns_clockwise_round_the_middle():
    point = Tracks([[[50.0, 20.0]]] * 2, [[1]] * 2, (80, 40))
    assert torch.allclose(camera(point, rotate=90).path[1, 0], torch.tensor([40.0, 30.0]), atol=1e-4)


def test_a_camera_move_is_added_to_tracks_that_move_themselves():
    own = Tracks([[[0, 0]], [[5, 5]], [[9, 9]]], [[1]] * 3, (80, 40))
    assert camera(own, pan=(1, 0)).path[:, 0].tolist() == [[0, 0], [6, 5], [11, 9]]


def test_the_first_frame_stays():
    rest = grid(80, 40, 4)
    assert torch.allclose(camera(rest, pan=(3, 4), zoom=2, rotate=5).path[0], rest.path[0], atol=1e-4)


def test_moves_without_a_measure_or_that_turn_inside_out_are_refused():
    rest = grid(80, 40, 30)
    with pytest.raises(TracksError, match="unit"):
        camera(rest, unit="metres")
    with pytest.raises(TracksError, match="nothing"):
        camera(rest, zoom=-1)
    with pytest.raises(TracksError, match="nothing"):
        camera(rest, zoom=-100, unit="percent")
    with pytest.raises(TracksError, match="canvas"):
        camera(Tracks(rest.path, rest.visibility), pan=(1, 1), unit="percent")
