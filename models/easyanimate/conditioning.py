"""What EasyAnimate's variants are given beside the noisy latents, as channels. Knows the VAE and the channels' order.

All latents are normalised (times 0.7125) and the same for both halves of the guidance.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...trajectory.poses import CameraPoses
from ..common.errors import ModelError
from .camera import SCALE, pluecker_video
from .frames import smooth
from .latent import SCALING

NOISE = 0.0563  # added to the masked video: easyanimate/pipeline/pipeline_easyanimate_inpaint.py (noise_aug_strength)


def at_latent_size(video: Tensor, frames: int, height: int, width: int) -> Tensor:
    """[1, channels, 1 + 4n, H, W] -> [1, channels, 1 + n, h, w]: frame 0 alone, the rest by trilinear interpolation.

    Without antialias, so that of every four frames the second and third are seen: pipeline_easyanimate_inpaint.py:
    resize_mask, which the weights were trained with.
    """
    first = F.interpolate(video[:, :, :1], size=(1, height, width), mode="trilinear")
    if frames == 1:
        return first
    rest = F.interpolate(video[:, :, 1:], size=(frames - 1, height, width), mode="trilinear")
    return torch.cat([first, rest], dim=2)


def video_of_images(
    start: Tensor | None, end: Tensor | None, width: int, height: int, frames: int, fit: str
) -> tuple[Tensor, Tensor]:
    """The video that start and end pictures stand for, and its mask.

    start: [n, h, w, 3], the first n frames; end: [1, h, w, 3], the last. -> [1, 3, frames, height, width] in 0..1, the
    first start picture (else the end) wherever nothing is given; [1, 1, frames, height, width], 0 at given frames, else
    1.
    """
    if end is not None and len(end) != 1:
        raise ModelError(f"There are {len(end)} end images: a clip has one last frame. Give one picture.")
    given = (0 if start is None else len(start)) + (end is not None)
    if given > frames:
        raise ModelError(f"{given} start and end images are more than the clip's {frames} frames.")
    mask = torch.ones(1, 1, frames, height, width)
    video = torch.zeros(1, 3, frames, height, width)
    for images, place, what in ((end, slice(frames - 1, None), "The end image"), (start, None, "The start image")):
        if images is not None:
            pictures = smooth(images, width, height, fit, what)
            place = place or slice(0, len(images))
            rest = mask[0, 0, :, 0, 0] > 0
            video[:, :, rest] = pictures[:, :, :1]
            video[:, :, place] = pictures
            mask[:, :, place] = 0
    return video, mask


def inpaint_channels(vae, video: Tensor, mask: Tensor, noise: Tensor) -> Tensor:
    """[1, 1 + 16, 1 + n, h, w]: the mask (1 where the video is kept), and the video without what is made anew.

    video: [1, 3, 1 + 4n, H, W] in -1..1; mask: [1, 1, 1 + 4n, H, W], 1 where it is made anew; noise: standard normal,
    like the video. Where everything is made anew, all channels are 0.
    """
    size = [1 + (video.shape[2] - 1) // vae.temporal, *(side // vae.spatial for side in video.shape[-2:])]
    if mask.min() > 0.5:
        return torch.zeros(1, 1 + vae.channels, *size)
    masked = torch.where(mask < 0.5, video, -torch.ones_like(video))
    latents = vae.encode(torch.where(masked == -1, masked, masked + NOISE * noise)).cpu()
    return torch.cat([at_latent_size(1 - mask, *size) * SCALING, latents], dim=1)


def camera_channels(poses: CameraPoses, width: int, height: int, latent_size: tuple[int, int, int]) -> Tensor:
    """[1, 6, 1 + n, h, w] of as many poses as the clip has frames."""
    return at_latent_size(pluecker_video(poses, width, height), *latent_size) * SCALE


def reference_channels(vae, picture: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """[1, 16, 1 + n, h, w]: the picture's latents in the first frame, else 0. picture: [1, 3, 1, H, W] in -1..1."""
    channels = torch.zeros(1, *shape)
    if picture is not None:
        channels[:, :, :1] = vae.encode(picture).cpu()
    return channels
