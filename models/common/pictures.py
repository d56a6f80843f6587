"""Fitting a start picture, and the tracks drawn on it, to the size of the video. Knows no model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...trajectory import Tracks
from .errors import ModelError

FITS = ("crop", "stretch")
Box = tuple[float, float, float, float]  # left, top, width, height of the kept part of the picture, in its pixels


def to_pixels(image: Tensor) -> Tensor:
    """The first picture of an IMAGE, [.., height, width, 3 or 4] in 0..1 -> [1, 3, 1, height, width] in -1..1."""
    if image.ndim not in (3, 4) or image.shape[-1] not in (3, 4):
        raise ModelError(f"An image is [height, width, 3] in 0..1; this one is {list(image.shape)}.")
    picture = image if image.ndim == 3 else image[0]
    return picture[..., :3].permute(2, 0, 1)[None, :, None].float() * 2 - 1


def cover(
    picture: Tensor, width: int, height: int, fit: str = "crop", mode: str = "bicubic"
) -> tuple[Tensor, Box]:
    """The picture at width x height, resized without antialias as Wan was trained, and the part of it that is seen.

    picture: [1, 3, 1, h, w]. fit: 'crop' keeps the proportions and the middle (the very part that ComfyUI's
    common_upscale keeps), 'stretch' keeps everything. mode: of torch's interpolate.
    """
    left, top, seen_w, seen_h = box = seen(picture.shape[-1], picture.shape[-2], width, height, fit)
    part = picture[:, :, 0, top : top + seen_h, left : left + seen_w]
    if (seen_h, seen_w) != (height, width):
        part = F.interpolate(part, size=(height, width), mode=mode)
    return part[:, :, None], box


def seen(w: int, h: int, width: int, height: int, fit: str) -> tuple[int, int, int, int]:
    """The part (left, top, width, height) of a w x h picture that a width x height video shows; `fit` as for
    `cover`."""
    if fit not in FITS:
        raise ModelError(f"fit is '{fit}': it must be one of {', '.join(FITS)}.")
    left = top = 0
    if fit == "crop":
        left = round(max(0, w - h * width / height) / 2)
        top = round(max(0, h - w * height / width) / 2)
    return left, top, w - 2 * left, h - 2 * top


def fit_tracks(tracks: Tracks, image_width: int, image_height: int, width: int, height: int, box: Box) -> Tracks:
    """The tracks in pixels of the video.

    Tracks whose canvas has the proportions of the picture (or none of the two) were drawn on the picture and follow its
    crop `box`; those whose canvas has rather the proportions of the video were drawn on the video and are only scaled.
    Without a canvas the coordinates are pixels of the video.
    """
    if tracks.canvas is None:
        return Tracks(tracks.path, tracks.visibility, (width, height), tracks.fps)
    aspect = tracks.canvas[0] / tracks.canvas[1]
    to_video, to_picture = aspect / (width / height), aspect / (image_width / image_height)
    if max(to_video, 1 / to_video) < max(to_picture, 1 / to_picture):
        return tracks.resize(width, height)
    left, top, seen_w, seen_h = box
    path = tracks.resize(image_width, image_height).path - torch.tensor([left, top], dtype=torch.float32)
    path = path * torch.tensor([width / seen_w, height / seen_h])
    return Tracks(path, tracks.visibility, (width, height), tracks.fps)
