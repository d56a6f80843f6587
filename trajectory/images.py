"""Videos in and out of OpenCV: any of uint8 or float in 0..1, NumPy or torch, one picture or many, and back to the same
kind. Knows arrays; draws and tracks nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .tracks import TracksError

Video = np.ndarray | Tensor


def import_cv2() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise ImportError("Drawing and following tracks needs OpenCV: pip install opencv-python-headless") from error
    return cv2


def as_uint8(video: Video) -> tuple[np.ndarray, Callable[[np.ndarray], Video]]:
    """[frames, height, width, 3] uint8 of a video or one picture [height, width, 3], and the way back to its kind."""
    tensor = isinstance(video, Tensor)
    source = video.detach() if tensor else torch.from_numpy(np.ascontiguousarray(video))
    if source.ndim == 3:
        source = source[None]
    if source.ndim != 4 or source.shape[-1] not in (3, 4) or 0 in source.shape:
        raise TracksError(f"A video is [frames, height, width, 3], not {list(np.shape(video))}.")
    source, floating = source[..., :3], source.is_floating_point()
    if not floating and source.dtype != torch.uint8:
        raise TracksError(f"A video is uint8 or float in 0..1, not {str(source.dtype).removeprefix('torch.')}.")
    array = np.empty(source.shape, np.uint8)
    for frame, values in zip(array, source):  # one at a time: a whole video in float is large
        if floating:
            values = values.float().nan_to_num(0).clamp(0, 1).mul_(255).add_(0.5)
        frame[:] = values.to("cpu", torch.uint8).numpy()

    def back(frames: np.ndarray) -> Video:
        result = torch.from_numpy(np.ascontiguousarray(frames))
        if floating:
            values = torch.empty(result.shape, dtype=source.dtype)
            for frame, bytes_ in zip(values, result):
                frame.copy_(bytes_).div_(255)
            result = values
        return result.to(source.device) if tensor else result.numpy()

    return array, back
