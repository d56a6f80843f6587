"""Where points start and what carries them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from comfyui_trajectory.trajectory import Tracks, TracksError
from comfyui_trajectory.trajectory.follow import follow
from comfyui_trajectory.trajectory.place import carried, follow_checked, points_in_mask
from moving import curve, moving_disc, texture


def ring(size: int = 90) -> torch.Tensor:
    y, x = np.mgrid[:size, :size] + 0.5
    radius = np.hypot(x - size / 2, y - size / 2)
    return torch.from_numpy((radius > size / 4) & (radius < size / 2.2))


def test_points_lie_in_the_mask_and_apart_from_each_other():
    mask = ring()
    points = points_in_mask(mask, 12)
    assert points.shape == (12, 2)
    assert all(mask[int(y), int(x)] for x, y in points.tolist())
    distances = torch.cdist(points, points) + torch.eye(12) * 1e9
    even = 2 * math.pi * 31 / 12  # neighbours on the middle of the ring
    assert distances.min() > 0.6 * even
    assert torch.equal(points, points_in_mask(mask, 12))


def test_points_of_a_mask_of_another_size_are_on_the_canvas():
    mask = torch.zeros(10, 20, dtype=torch.bool)
    mask[5, 10] = True
    assert points_in_mask(mask, 3, (200, 50)).tolist() == [[105.0, 27.5]]  # fewer pixels than points


def test_a_black_mask_is_refused():
    with pytest.raises(TracksError, match="nothing is white"):
        points_in_mask(torch.zeros(4, 4, dtype=torch.bool), 3)


def leaders(*paths) -> Tracks:
    path = torch.tensor(paths, dtype=torch.float32).transpose(0, 1)
    return Tracks(path, torch.ones(path.shape[:2]), (100, 100), 16)


POINTS = torch.tensor([[10.0, 10.0], [30.0, 12.0], [15.0, 40.0]])


def test_points_keep_their_offset_to_one_leader():
    leader = leaders([(50, 50), (60, 45), (20, 90)])
    moved = carried(POINTS, leader)
    assert torch.allclose(moved.path - leader.path, (POINTS - torch.tensor([50.0, 50.0])).expand(3, 3, 2), atol=1e-4)
    assert moved.fps == 16 and moved.canvas == (100, 100)


def test_two_leaders_turn_and_scale_the_points_exactly():
    angle, scale, shift = 0.7, 1.6, torch.tensor([5.0, -9.0])
    turn = scale * torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    start = torch.tensor([[20.0, 20.0], [70.0, 35.0]])
    pair = leaders(*zip(start.tolist(), (start @ turn.T + shift).tolist()))
    assert torch.allclose(carried(POINTS, pair).path[1], POINTS @ turn.T + shift, atol=1e-3)


def test_leaders_at_one_place_are_refused_and_hidden_ones_hide_the_points():
    with pytest.raises(TracksError, match="start at one place"):
        carried(POINTS, leaders([(5, 5), (6, 6)], [(5, 5), (9, 9)]))
    pair = leaders([(5, 5), (6, 6)], [(8, 5), (9, 9)])
    hidden = Tracks(pair.path, torch.tensor([[True, True], [False, False]]), pair.canvas)
    assert carried(POINTS, hidden).visibility.tolist() == [[True] * 3, [False] * 3]


def textured(frames: int, step: tuple[float, float], size=(48, 64), cover: int | None = None):
    """A noise picture that moves by `step` a frame, exactly (sampled from a smooth function) [frames, height, width,
    3], and its motion [frames, 2]."""
    waves = np.random.default_rng(3)
    kx, ky, phase = waves.uniform(-0.7, 0.7, 40), waves.uniform(-0.7, 0.7, 40), waves.uniform(0, 6.3, (3, 40))
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    motion = np.arange(frames)[:, None] * np.array(step)
    video = [
        np.stack([np.sin((x - dx)[..., None] * kx + (y - dy)[..., None] * ky + p).sum(-1) for p in phase], -1)
        for dx, dy in motion
    ]
    video = np.clip(128 + 14 * np.array(video), 0, 255).astype(np.uint8)
    if cover is not None:
        video[cover:, :, size[1] // 2 :] = 90  # a grey board over the right half
    return video, motion


@pytest.mark.parametrize("start", [0, 2])
def test_points_are_followed_within_half_a_pixel_and_checked_back(start):
    pytest.importorskip("cv2")
    video, motion = textured(4, (1.3, -0.6))
    points = torch.tensor([[20.0, 24.0], [40.0, 30.0]])
    tracks = follow_checked(video, points, start=start, tolerance=1.0)
    expected = points.numpy()[None] + (motion - motion[start])[:, None]
    assert np.median(np.linalg.norm(tracks.path.numpy() - expected, axis=-1)) < 0.5
    assert tracks.visibility.all()


def test_a_point_that_gets_covered_is_invisible():
    pytest.importorskip("cv2")
    video, _ = textured(4, (0.5, 0), cover=2)
    tracks = follow_checked(video, torch.tensor([[16.0, 24.0], [50.0, 24.0]]), tolerance=1.0)
    assert tracks.visibility[:, 0].all()
    assert tracks.visibility[:2, 1].all() and not tracks.visibility[2:, 1].any()


def leaping(video, points, *, start=0):
    """A tracker that leaps 50 pixels between frames 3 and 4 of 8, comes back at 6 for one that is right of 100, and
    going back knows of none of it."""
    path = np.repeat(np.asarray(points, np.float32)[None], len(video), axis=0)
    visible = np.ones(path.shape[:2], bool)
    if start == 0:
        path[4:6] += 50
        path[6:] += np.where(path[6:, :, :1] > 100, 0, 50)
    return Tracks(path, visible, (200, 200))


def test_a_point_is_visible_only_where_it_leads_back_to_its_start_and_held_there(monkeypatch):
    monkeypatch.setattr("comfyui_trajectory.trajectory.place.follow", leaping)
    video = np.zeros((8, 200, 200, 3), np.uint8)
    tracks = follow_checked(video, torch.tensor([[10.0, 10.0], [110.0, 10.0]]))
    assert tracks.visibility.T.tolist() == [[True] * 4 + [False] * 4, [True] * 4 + [False] * 2 + [True] * 2]
    assert (tracks.path == tracks.path[0]).all()


def test_a_thing_that_only_looks_like_the_one_that_was_lost_is_not_taken_for_it():
    pytest.importorskip("cv2")
    thing, ground = texture(6, 22, 22), texture(56, 96, 96)
    path = curve(10, (24, 24), (2, 0), bend=0)
    gone = np.where(np.arange(10)[:, None] < 4, path, -100.0)
    video = moving_disc(thing, ground, gone)
    other = moving_disc(thing, ground, path + (10, 45))
    video[:, 48:] = other[:, 48:]  # the same thing further down, all the time
    assert follow(video, path[:1]).visibility[-1].all()  # the tracker alone takes it
    tracks = follow_checked(video, path[:1])
    assert tracks.visibility[:, 0].tolist() == [True] * 4 + [False] * 6
    assert (tracks.path[4:] == tracks.path[3]).all()
