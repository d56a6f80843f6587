"""The coarse half of the optical tracker: the cheapest way through all frames of a small copy of the video along which
a point's surroundings look as in its first frame. Sees whole clips, to about a pixel; follow.py refines it."""

from __future__ import annotations

import numpy as np

from .images import import_cv2

SIDE = 112  # pixels of the short side of the small copy, at most
PATCH = 0.07  # half the side of the surroundings, of the short side
REACH = 0.12  # how far a point may move in a frame, of the short side
EFFORT = 0.3  # cost of moving that far; a place that looks nothing like the first costs 1


def coarse_ways(frames: np.ndarray, points: np.ndarray) -> np.ndarray:
    """frames [frames, height, width, 3] uint8 in the order to follow, points [n, 2] pixels of the first -> [frames, n,
    2]."""
    cv2 = import_cv2()
    scale = min(1.0, SIDE / min(frames.shape[1:3]))
    if scale < 1:
        frames = [cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for frame in frames]
    frames = [cv2.GaussianBlur(frame, (0, 0), 0.7).astype(np.float32) for frame in frames]
    height, width = frames[0].shape[:2]
    short = min(height, width)
    half = max(2, round(PATCH * short))
    reach = max(1, round(REACH * short))
    padded = [cv2.copyMakeBorder(frame, half, half, half, half, cv2.BORDER_REPLICATE) for frame in frames]
    places = np.clip(points * scale - 0.5, 0, (width - 1, height - 1)).astype(np.float32)
    ways = np.empty((len(frames), len(points), 2), np.float32)
    for i, place in enumerate(places):
        patch = cv2.getRectSubPix(frames[0], (2 * half + 1, 2 * half + 1), tuple(place.tolist()))
        costs = np.stack([cost_map(picture, patch) for picture in padded])
        ways[:, i] = cheapest_way(costs, place, reach)
    return (ways + 0.5) / scale


def cost_map(picture: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """[height, width] in 0..1: how little each place of the (padded) picture looks like the patch, the middle counting
    most."""
    cv2 = import_cv2()
    bell = cv2.getGaussianKernel(len(patch), len(patch) * 0.25).astype(np.float32)
    weights = np.repeat((bell @ bell.T)[..., None], 3, axis=2) / 3
    contrast = (weights * (patch - (patch * weights).sum((0, 1)) * 3) ** 2).sum()
    # sum of w (a - b)^2, multiplied out so that it is two correlations
    off = cv2.matchTemplate(picture**2, weights, cv2.TM_CCORR) - 2 * cv2.matchTemplate(
        picture, weights * patch, cv2.TM_CCORR
    )  # fmt: skip
    off = np.maximum(off + (weights * patch**2).sum(), 0)
    return off / (off + 60.0 + contrast)


def cheapest_way(costs: np.ndarray, start: np.ndarray, reach: int) -> np.ndarray:
    """costs [frames, height, width], start (x, y) -> [frames, 2] (x, y): least sum of costs and of effort for
    moving."""
    frames, height, width = costs.shape
    effort = EFFORT * (np.arange(-reach, reach + 1) / reach).astype(np.float32) ** 2
    total = np.full((height, width), 1e6, np.float32)
    x, y = start.round().astype(int)
    total[y, x] = 0
    came = []
    for cost in costs[1:]:
        total, from_x = nearest(total, effort, reach)
        down, from_y = nearest(total.T, effort, reach)
        came.append((from_x, from_y.T))
        total = down.T + cost
    y, x = np.unravel_index(total.argmin(), total.shape)
    way = [(x, y)]
    for from_x, from_y in reversed(came):
        y = from_y[y, x]
        x = from_x[y, x]
        way.append((x, y))
    way = np.array(way[::-1], np.float32)
    way[0] = start
    return way


def nearest(total: np.ndarray, effort: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Along the last axis: the least of total and the effort from there, and where that is."""
    width = total.shape[1]
    wide = np.pad(total, ((0, 0), (reach, reach)), constant_values=1e6)
    best = wide[:, :width] + effort[0]
    source = np.full(best.shape, -reach, np.int32)
    for k in range(1, 2 * reach + 1):
        other = wide[:, k : k + width] + effort[k]
        better = other < best
        np.copyto(best, other, where=better)
        source[better] = k - reach
    return best, source + np.arange(width)
