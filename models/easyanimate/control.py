"""Tracks as EasyAnimate's trajectory control sees them: a video of Gaussian spots. Knows tracks and pixels, no
network."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ...trajectory import Tracks
from ...trajectory.images import import_cv2

SIDE, SPREAD = 200, 40  # of the spot that is drawn smaller: comfyui/comfyui_nodes.py:gen_gaussian_heatmap
RADIUS, RADIUS_AREA = 50, 1280 * 720  # pixels of the spot's radius in a video of that many


@cache
def spot() -> np.ndarray:
    """[200, 200] uint8: a Gaussian within a disc, 255 at its brightest."""
    cv2 = import_cv2()
    away = (np.arange(SIDE) - SIDE // 2) ** 2
    gaussian = np.exp(-(away[:, None] + away) / (2.0 * SPREAD**2))
    disc = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(disc, (SIDE // 2, SIDE // 2), SIDE // 2 - 1, 1, -1)
    gaussian = gaussian * disc
    return (gaussian / gaussian.max() * 255).astype(np.uint8)


def spot_radius(width: int, height: int) -> int:
    """Pixels, for a video of that size."""
    return int(RADIUS * math.sqrt(height * width / RADIUS_AREA))


def heat_video(tracks: Tracks, width: int, height: int) -> Tensor:
    """[frames, height, width] uint8: a spot round each visible point, the brightest of those that overlap.

    tracks: in pixels of the video. As comfyui/comfyui_nodes.py:CreateTrajectoryBasedOnKJNodes draws it, where the last
    row and column stay black and a spot at an edge is squeezed into what is left of it; but for any number of tracks,
    and with parts of a pixel, between which the drawn spots are blended.
    """
    radius = spot_radius(width, height)
    video = np.zeros((tracks.frames, height, width), np.uint8)
    path, visible = tracks.path.double().numpy(), tracks.visibility.numpy()
    for frame, points, shown in zip(video, path, visible):
        for x, y in points[shown]:
            if -radius - 1 < x < width + radius and -radius - 1 < y < height + radius:
                draw_spot(frame, x, y, radius)
    return torch.from_numpy(video)


def draw_spot(frame: np.ndarray, x: float, y: float, radius: int) -> None:
    left, top = math.floor(x), math.floor(y)
    right_share, down_share = x - left, y - top
    if right_share == 0 and down_share == 0:
        stamp(frame, left, top, radius, np.maximum)
        return
    blend = np.zeros(frame.shape, np.float32)
    for dx, wx in ((0, 1 - right_share), (1, right_share)):
        for dy, wy in ((0, 1 - down_share), (1, down_share)):
            stamp(blend, left + dx, top + dy, radius, lambda old, new, weight=wx * wy: old + weight * new)
    np.maximum(frame, np.rint(blend).astype(np.uint8), out=frame)


def stamp(frame: np.ndarray, x: int, y: int, radius: int, join) -> None:
    """Joins the spot round a whole pixel into the frame."""
    height, width = frame.shape
    left, right = max(x - radius, 0), min(x + radius, width - 1)
    top, bottom = max(y - radius, 0), min(y + radius, height - 1)
    if right - left > 3 and bottom - top > 3:
        small = import_cv2().resize(spot(), (right - left, bottom - top))
        frame[top:bottom, left:right] = join(frame[top:bottom, left:right], small)


def brightest(first: Tensor, second: Tensor) -> Tensor:
    """Two control videos [frames, height, width, 3] in one: the brighter of both, at the first one's size, as long as
    the shorter. comfyui/comfyui_nodes.py:ImageMaximumNode."""
    frames = min(len(first), len(second))
    second = second[:frames].movedim(-1, 1)
    if second.shape[-2:] != first.shape[1:3]:
        second = torch.nn.functional.interpolate(second, size=tuple(first.shape[1:3]))
    return torch.maximum(first[:frames], second.movedim(1, -1))
