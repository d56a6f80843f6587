"""Drawing: the same kind comes back, points land where they are, and any tracks can be drawn."""

import numpy as np
import pytest
import torch
from comfyui_trajectory.trajectory import Tracks, TracksError, contact_sheet, draw_paths, draw_tracks
from comfyui_trajectory.trajectory.draw import color


def tracks(frames: int = 5, canvas=(80, 60)) -> Tracks:
    path = torch.stack([torch.linspace(10, 70, frames), torch.full((frames,), 30.0)], -1)[:, None]
    return Tracks(path, torch.ones(frames, 1), canvas)


@pytest.mark.parametrize("video", [
    np.zeros((5, 60, 80, 3), np.uint8), np.zeros((5, 60, 80, 3), np.float32), torch.zeros(5, 60, 80, 3),
    torch.zeros(5, 60, 80, 3, dtype=torch.uint8), torch.zeros(5, 60, 80, 3, dtype=torch.float16),
])  # fmt: skip
def test_the_same_kind_of_video_comes_back(video):
    drawn = draw_tracks(video, tracks())
    assert type(drawn) is type(video) and drawn.dtype == video.dtype and drawn.shape == video.shape
    assert drawn.max() > 0 and video.max() == 0


def test_the_current_point_is_drawn_in_its_colour_where_it_is():
    drawn = draw_tracks(np.zeros((5, 60, 80, 3), np.uint8), tracks(), trail=0)
    for frame, x in zip(drawn, (10, 25, 40, 55, 70)):
        assert np.abs(frame[30, x].astype(int) - color(0)).max() < 12
        assert not frame[:, np.abs(np.arange(80) - x) > 8].any()


def test_the_trail_fades_with_age():
    drawn = draw_tracks(np.full((9, 60, 80, 3), 255, np.uint8), tracks(9), trail=8)[-1].astype(int)
    strength = (255 - drawn[28:33]).sum((0, 2))
    assert strength[12:18].mean() < strength[35:45].mean() < strength[52:60].mean()


def test_one_picture_is_repeated_and_tracks_are_fitted_to_the_video():
    assert draw_tracks(np.zeros((60, 80, 3), np.uint8), tracks(7)).shape == (7, 60, 80, 3)
    small = draw_tracks(np.zeros((3, 30, 40, 3), np.uint8), tracks(7), trail=0)
    assert np.abs(small[2, 15, 35].astype(int) - color(0)).max() < 12


def test_an_invisible_point_is_hollow():
    hidden = Tracks(tracks().path, torch.zeros(5, 1), (80, 60))
    drawn = draw_tracks(np.zeros((5, 60, 80, 3), np.uint8), hidden, trail=0, size=5)
    assert not drawn[2, 30, 40].any() and drawn[2].any()


def test_nothing_changes_away_from_the_tracks():
    video = np.random.default_rng(0).integers(0, 255, (5, 60, 80, 3), dtype=np.uint8)
    drawn = draw_tracks(video, tracks())
    assert np.array_equal(drawn[:, :20], video[:, :20]) and not np.array_equal(drawn, video)


def test_points_far_off_the_canvas_are_drawn_as_far_as_they_are_seen():
    far = Tracks([[[-5e5, 9e5], [10, 10]], [[9e5, -3e5], [20, 20]]], [[1, 1], [1, 1]], (80, 60))
    assert draw_tracks(np.zeros((2, 60, 80, 3), np.uint8), far).any()
    assert draw_paths(np.zeros((60, 80, 3), np.uint8), far).any()


def test_paths_end_in_an_arrow_and_keep_the_shape():
    drawn = draw_paths(np.zeros((60, 80, 3), np.uint8), tracks(), size=3)
    column = lambda x: (drawn[:, x].any(-1)).sum()  # noqa: E731
    assert drawn.shape == (60, 80, 3) and column(67) > column(40) > 0
    assert draw_paths(torch.zeros(1, 60, 80, 3), tracks(1)).shape == (1, 60, 80, 3)


def test_a_contact_sheet_shows_the_first_and_the_last_frame():
    video = torch.arange(10)[:, None, None, None].expand(10, 4, 6, 3) / 10
    sheet = contact_sheet(video, 3, rows=2, gap=1)
    assert sheet.shape == (9, 20, 3)
    assert sheet[0, 0, 0] == 0 and sheet[8, 19, 0] == pytest.approx(0.9, abs=0.01) and sheet[4, 0, 0] == 1
    assert contact_sheet(video[:2], 4).shape == (4, 30, 3)


@pytest.mark.parametrize("video", [np.zeros((5, 60, 80)), np.zeros((5, 60, 80, 3), np.int32), np.zeros((0, 60, 80, 3))])
def test_what_is_no_video_is_refused(video):
    with pytest.raises(TracksError, match="video"):
        draw_tracks(video, tracks())
