"""Camera poses drawn as paths: from above and from the side. Draws what it is told."""

from __future__ import annotations

import numpy as np

from .draw import color
from .images import import_cv2
from .poses import CameraPoses

BACKGROUND, GRID, INK = (24, 24, 28), (52, 52, 58), (200, 200, 206)
MARGIN = 0.12  # of a panel's side
LEAST = 1.0  # length that a panel shows at least, so that a camera at rest is not blown up
CAMERAS = 8  # drawn along the path at most
VIEWS = (("from above", 0, -2), ("from the side", 2, 1))  # name, axis to the right, axis down (negative: upwards)


def draw_poses(poses: CameraPoses, side: int = 384) -> np.ndarray:
    """[side, 2 * side, 3] uint8: the way of the camera from above (it looks up) and from the side (it looks right), in
    the axes of the first camera; darker is earlier. Small wedges show where it looks."""
    return np.concatenate([panel(poses, side, *view) for view in VIEWS], axis=1)


def panel(poses: CameraPoses, side: int, name: str, right: int, down: int) -> np.ndarray:
    cv2 = import_cv2()
    image = np.full((side, side, 3), BACKGROUND, np.uint8)
    camera_to_world = poses.relative()
    axes, signs = [right, abs(down)], np.array([1, -1 if down < 0 else 1])
    positions = camera_to_world[:, :3, 3][:, axes] * signs
    directions = camera_to_world[:, :3, 2][:, axes] * signs
    middle = (positions.max(0) + positions.min(0)) / 2
    span = max(LEAST, *(positions.max(0) - positions.min(0)))
    scale = side * (1 - 2 * MARGIN) / span

    def place(points: np.ndarray) -> np.ndarray:
        return np.rint((points - middle) * scale + side / 2).astype(np.int32)

    for share in (0.25, 0.5, 0.75):
        at = round(side * share)
        cv2.line(image, (at, 0), (at, side), GRID, 1)
        cv2.line(image, (0, at), (side, at), GRID, 1)
    rgb = np.array(color(0), float)
    pixels, count = place(positions), poses.frames
    for frame in range(count - 1):
        shade = tuple((rgb * (0.4 + 0.6 * (frame + 1) / count)).tolist())
        cv2.line(image, tuple(pixels[frame].tolist()), tuple(pixels[frame + 1].tolist()), shade, 3, cv2.LINE_AA)
    for frame in np.unique(np.linspace(0, count - 1, min(count, CAMERAS)).round().astype(int)):
        shade = (rgb * (0.4 + 0.6 * (frame + 1) / count)).tolist()
        cv2.polylines(image, [wedge(pixels[frame], directions[frame], side / 14)], True, shade, 1, cv2.LINE_AA)
    cv2.circle(image, tuple(pixels[0].tolist()), 4, INK, -1, cv2.LINE_AA)
    cv2.putText(image, name, (10, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.45, INK, 1, cv2.LINE_AA)
    return image


def wedge(at: np.ndarray, direction: np.ndarray, length: float) -> np.ndarray:
    """The corners of what a camera sees; its length shows how far the direction lies in the panel's plane."""
    along = direction * length
    across = np.array([-along[1], along[0]]) * 0.5
    return np.rint([at, at + along + across, at + along - across]).astype(np.int32)
