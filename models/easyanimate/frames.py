"""Pictures and videos brought to the video's size as the release does it, through 8-bit values. Knows pixels alone."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..common.errors import ModelError
from ..common.pictures import seen

KEEP_BELOW = 240  # of 255 in a mask: easyanimate/utils/utils.py:get_video_to_video_latent


def bytes_of(images: Tensor, what: str) -> Tensor:
    """IMAGE [frames, height, width, 3 or 4] in 0..1 -> uint8, cut off as comfyui/comfyui_nodes.py:to_pil does."""
    images = images[None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[-1] not in (3, 4):
        raise ModelError(f"{what} is [frames, height, width, 3] in 0..1; this one is {list(images.shape)}.")
    return (images[..., :3].float().cpu() * 255).clamp(0, 255).to(torch.uint8)


def cropped(frames: Tensor, width: int, height: int, fit: str) -> Tensor:
    """The part of [frames, h, w, ...] that a width x height video shows."""
    left, top, seen_w, seen_h = seen(frames.shape[2], frames.shape[1], width, height, fit)
    return frames[:, top : top + seen_h, left : left + seen_w]


def smooth(images: Tensor, width: int, height: int, fit: str, what: str) -> Tensor:
    """Pictures of a start or end -> [1, 3, frames, height, width] in 0..1, resized by Pillow (bicubic)."""
    part = cropped(bytes_of(images, what), width, height, fit)
    resized = [np.array(Image.fromarray(frame.numpy()).resize((width, height))) for frame in part]
    return torch.from_numpy(np.stack(resized)).permute(3, 0, 1, 2)[None] / 255


def nearest(images: Tensor, width: int, height: int, fit: str, what: str) -> Tensor:
    """Frames of a video, or a reference picture -> [1, 3, frames, height, width] in -1..1, resized to the nearest
    pixel."""
    part = cropped(bytes_of(images, what), width, height, fit).movedim(-1, 1) / 255
    return F.interpolate(part, size=(height, width)).movedim(1, 0)[None] * 2 - 1


def redrawn(mask: Tensor, width: int, height: int, fit: str, frames: int) -> Tensor:
    """MASK [1 or at least `frames`, h, w] in 0..1 -> [1, 1, frames, height, width]: 1 where the video is made anew."""
    mask = mask[None] if mask.ndim == 2 else mask
    if mask.ndim != 3 or 1 < len(mask) < frames:
        raise ModelError(
            f"The mask is {list(mask.shape)}: [height, width] for the whole clip, or a mask for each of its {frames} "
            "frames."
        )
    part = cropped((mask[:frames].float().cpu() * 255).clamp(0, 255).to(torch.uint8), width, height, fit)
    resized = [np.array(Image.fromarray(plane.numpy()).resize((width, height))) for plane in part]
    drawn = torch.from_numpy(np.stack(resized) >= KEEP_BELOW).float()
    return drawn.expand(frames, -1, -1)[None, None]


def enough(images: Tensor, frames: int, what: str) -> Tensor:
    """The first `frames` frames; ModelError where there are fewer."""
    if len(images) < frames:
        raise ModelError(
            f"{what} has {len(images)} frames, the clip {frames}: give a longer one, or make a shorter clip "
            f"(frames {max(0, len(images) - 1) // 4 * 4 + 1})."
        )
    return images[:frames]
