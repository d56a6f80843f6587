"""From camera poses to tracks: where the points of a scene at rest are seen while the camera moves. Approximate where
the depth is. Knows poses and tracks."""

from __future__ import annotations

import numpy as np
import torch

from .camera import grid
from .poses import CameraPoses
from .tracks import MAX_COORDINATE, Tracks, TracksError

NEAR = 1e-3  # depth in front of the camera below which a point is not seen


def tracks_of_poses(
    poses: CameraPoses, width: int, height: int, *, columns: int = 6, rows: int = 4, depth: float | np.ndarray = 3.0
) -> Tracks:
    """Tracks of a grid of points, in pixels of a width x height video, a frame for each pose.

    depth: how far ahead of the first camera the points lie, in the unit of the poses (a preset moves by 1.5 or so): one
    number for a scene like a wall, or [h, w] values over the picture. Points that come to lie behind the camera or far
    off the picture are invisible and stay where they were last seen. TracksError where a depth is not above 0.
    """
    start = grid(width, height, 1, columns=columns, rows=rows).path[0].double().numpy()  # [points, 2]
    distance = depth_at(depth, start, width, height)
    lens = poses.pixel_lens(width, height)
    rays = np.concatenate([(start - lens[0, 2:]) / lens[0, :2], np.ones((len(start), 1))], axis=1)
    world = rays * distance[:, None]  # in the axes of the first camera
    to_camera = np.linalg.inv(poses.relative())
    seen_from = np.einsum("fij,pj->fpi", to_camera[:, :3, :3], world) + to_camera[:, None, :3, 3]
    z = seen_from[..., 2]
    ahead = z > NEAR
    path = seen_from[..., :2] / np.where(ahead, z, 1)[..., None] * lens[:, None, :2] + lens[:, None, 2:]
    visible = ahead & (np.abs(path) < MAX_COORDINATE / 10).all(-1)
    for frame in range(1, len(path)):
        path[frame] = np.where(visible[frame][:, None], path[frame], path[frame - 1])
    return Tracks(torch.from_numpy(path), torch.from_numpy(visible), (width, height))


def depth_at(depth: float | np.ndarray, points: np.ndarray, width: int, height: int) -> np.ndarray:
    """[points] depth below pixel positions [points, 2] of a width x height picture."""
    values = np.asarray(depth, np.float64)
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise TracksError("A depth is how far ahead of the camera something is: it must be above 0 everywhere.")
    if values.ndim == 0:
        return np.full(len(points), float(values))
    if values.ndim != 2:
        raise TracksError(f"A depth map is [height, width], not {list(values.shape)}.")
    column, row = (points / [width, height] * values.shape[::-1]).astype(int).T
    return values[row.clip(0, values.shape[0] - 1), column.clip(0, values.shape[1] - 1)]


def depth_of_brightness(picture: np.ndarray, depth: float) -> np.ndarray:
    """A depth map from a picture of nearness [h, w] in 0..1, as depth estimators draw it: white is at half of `depth`,
    black at twice, and 1 / depth is linear between them."""
    return depth / (0.5 + 1.5 * np.clip(picture, 0, 1))
