"""Videos whose motion is known: a textured disc that moves over another texture, blurred and noisy as a model's output
is. Also the small helpers that several tests of `trajectory` share."""

from __future__ import annotations

import cv2
import numpy as np


def texture(seed: int, height: int, width: int) -> np.ndarray:
    """Colour noise with the statistics of a photograph (much large, some small) [height, width, 3] float 0..255."""
    random = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.float32)
    for sigma in (1.0, 2.0, 4.0, 8.0, 16.0):
        image += cv2.GaussianBlur(random.standard_normal(image.shape).astype(np.float32), (0, 0), sigma) * sigma * 1.2
    image -= image.mean((0, 1))
    return (128 + 50 * image / image.std()).clip(0, 255)


def moving_disc(
    thing: np.ndarray, background: np.ndarray, path: np.ndarray, *, blur: float = 0.8, noise: float = 0.02
) -> np.ndarray:
    """`thing` [side, side, 3] cut out as a disc, its middle at path [frames, 2] of `background` -> uint8 video."""
    random = np.random.default_rng(0)
    height, width = background.shape[:2]
    side = thing.shape[0]
    down, across = np.mgrid[:height, :width]
    frames = []
    for x, y in path:
        place = np.float32([[1, 0, x - side / 2], [0, 1, y - side / 2]])
        there = cv2.warpAffine(thing.astype(np.float32), place, (width, height), borderMode=cv2.BORDER_REPLICATE)
        disc = np.clip(side / 2 - np.hypot(across + 0.5 - x, down + 0.5 - y) + 0.5, 0, 1)[..., None]
        frame = cv2.GaussianBlur(background * (1 - disc) + there * disc, (0, 0), blur)
        frames.append(frame + random.normal(0, 255 * noise, frame.shape))
    return np.stack(frames).clip(0, 255).astype(np.uint8)


def curve(frames: int, start: tuple[float, float], step: tuple[float, float], bend: float = 0.06) -> np.ndarray:
    """[frames, 2]: from `start` by `step` a frame, turning by `bend` radians a frame."""
    angle = bend * np.arange(frames - 1)
    x, y = step
    turned = np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], -1)
    return np.concatenate([[start], np.asarray(start) + np.cumsum(turned, axis=0)])
