"""The score: figures worked out by hand on given measurements, and the whole on videos whose motion is known."""

import json
import math

import numpy as np
import pytest
import torch
from comfyui_trajectory.trajectory import Tracks, TracksError, draw_score
from comfyui_trajectory.trajectory.score import score
from moving import curve, moving_disc, texture


def video(frames: int = 5, height: int = 60, width: int = 80) -> np.ndarray:
    return np.zeros((frames, height, width, 3), np.uint8)  # a diagonal of 100 pixels


def still(frames: int = 5, x: float = 20, y: float = 30, count: int = 1) -> Tracks:
    return Tracks(torch.tensor([x, y]).repeat(frames, count, 1), torch.ones(frames, count), (80, 60))


def test_the_figures_are_those_of_the_definitions():
    followed = still().pan(torch.tensor([0, 0, 3, 30, 30]), torch.tensor([0, 0.5, 4, 40, 40]))
    result = score(video(), still(), followed=followed)
    errors = [0.5, 5, 50, 50]  # the frame that starts is not counted
    assert result.error == pytest.approx(np.mean(errors))
    assert result.error_percent == pytest.approx(100 * np.mean(errors) / 60)
    assert result.traj_error == pytest.approx(np.mean([0.5, 7, 70, 70]))
    assert (result.acc_01, result.acc_05, result.coverage, result.points) == (0.25, 0.5, 1.0, 4)


def test_only_visible_points_on_the_canvas_count():
    path = torch.tensor([[20.0, 30], [25, 30], [200, 30], [30, 30]])[:, None]
    asked = Tracks(path, torch.tensor([[True], [True], [True], [False]]), (80, 60))
    followed = Tracks(path + torch.tensor([2.0, 0]), torch.ones(4, 1), (80, 60))
    result = score(video(4), asked, followed=followed)
    assert result.points == 1 and result.error == pytest.approx(2)


def test_a_lost_track_counts_where_it_was_last_seen_and_lowers_the_coverage():
    asked = still().pan(torch.arange(5) * 10.0, 0)
    followed = Tracks(still().path, torch.tensor([[True], [True], [False], [False], [False]]), (80, 60))
    result = score(video(), asked, followed=followed)
    assert result.error == pytest.approx(25) and result.coverage == 0.25


def test_a_video_that_follows_scores_well_and_one_that_stands_still_does_not():
    path = curve(12, (22, 44), (3.2, 0.4))
    thing, ground = texture(1, 22, 22), texture(51, 96, 96)
    asked = Tracks(path[:, None], np.ones((12, 1)), (96, 96))
    moves = score(moving_disc(thing, ground, path), asked)
    stands = score(moving_disc(thing, ground, np.repeat(path[:1], 12, axis=0)), asked)
    assert moves.error_percent < 0.6 and moves.acc_01 > 0.9 and moves.coverage == 1
    assert stands.error == pytest.approx(np.linalg.norm(path - path[0], axis=-1)[1:].mean(), abs=0.4)


def test_tracks_of_another_length_and_canvas_are_compared_at_the_videos():
    path = curve(9, (30, 44), (3, 0.4))
    clip = moving_disc(texture(2, 22, 22), texture(52, 96, 96), path)
    asked = Tracks(path[:, None], np.ones((9, 1)), (96, 96)).resize(960, 480).resample(65)
    assert score(clip, asked).error < 0.7


def test_a_track_that_appears_later_is_followed_from_there():
    path = curve(9, (30, 44), (3, 0.4))
    clip = moving_disc(texture(3, 22, 22), texture(53, 96, 96), path)
    visible = np.arange(9)[:, None] >= 3
    result = score(clip, Tracks(path[:, None], visible, (96, 96)))
    assert result.points == 5 and result.error < 0.7


def test_a_track_that_is_never_on_the_canvas_has_no_error_of_its_own():
    asked = still().merge(still(x=500))
    result = score(video(), asked, followed=asked)
    assert result.track_errors[0] == 0 and math.isnan(result.track_errors[1])
    assert json.loads(json.dumps(result.figures()))["track_errors"] == [0, None]
    assert "track 1: not compared" in result.report()


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(TracksError, match="two frames"):
        score(video(1), still())
    with pytest.raises(TracksError, match="nothing to compare"):
        score(video(), still(x=500))
    with pytest.raises(TracksError, match="followed"):
        score(video(), still(), followed=still(4))


def test_the_comparison_is_drawn_in_the_kind_of_the_video():
    result = score(video(), still(), followed=still().pan(torch.arange(5) * 5.0, 0))
    drawn = draw_score(torch.zeros(5, 60, 80, 3), result)
    assert drawn.shape == (5, 60, 80, 3) and drawn.dtype == torch.float32 and drawn[-1].any()
