"""ATI's motion patch: first-frame features carried along the tracks into the image conditioning. Only the maths.

Source: bytedance/ATI wan/modules/motion_patch.py:patch_motion with training=False, its quirks included: point features
come from frame 0 whether or not the point is visible there; they are sampled with align_corners=False while the weights
stand on a grid whose ends are the corner pixels; the mask is the sum of the weights and may exceed 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STEP = 4  # video frames a latent frame
MOST = 1 << 26  # weights held at once: bounds the memory that many tracks on a large grid take


def motion_weights(tracks: Tensor, height: int, width: int, temperature: float) -> tuple[Tensor, Tensor]:
    """How much each track stands for each column and for each row of the latents; their product is for a position.

    tracks: [1 + 4n, tracks, 4]: time (unused), x and y relative to the centre with the short side spanning -1..1,
    visibility in -1..1. -> [n, width, tracks] and [n, height, tracks]: exp(-distance^2 * temperature), the second times
    the visibility.
    """
    visible = tracks[1:, :, 3:].clamp(0, 1).unflatten(0, (-1, STEP))  # [n, 4, tracks, 1]
    count = visible.sum(1)
    position = (tracks[1:, :, 1:3].unflatten(0, (-1, STEP)) * visible).sum(1) / (count + 1e-5)  # [n, tracks, 2]
    short = min(height, width)
    xs = torch.linspace(-width / short, width / short, width, device=tracks.device)
    ys = torch.linspace(-height / short, height / short, height, device=tracks.device)
    # The Gaussian is separable: a row and a column of weights a track instead of a distance a position.
    across = torch.exp(-temperature * (position[:, None, :, 0] - xs[:, None]) ** 2)  # [n, width, tracks]
    down = torch.exp(-temperature * (position[:, None, :, 1] - ys[:, None]) ** 2)  # [n, height, tracks]
    return across, down * count.clamp(0, 1).squeeze(-1)[:, None]


def motion_patch(tracks: Tensor, latents: Tensor, *, temperature: float = 220.0, topk: int = 2) -> Tensor:
    """Image conditioning that follows the tracks.

    tracks: [1 + 4n, tracks, 4] as for `motion_weights`; latents: [channels, 1 + n, height, width], normalised, of the
    start image followed by grey frames. temperature: how sharply a point acts (220 for about 60 latent rows). topk:
    how many tracks may act on one position. -> [4 + channels, 1 + n, height, width], four equal mask channels first.
    """
    _, frames, height, width = latents.shape
    if tracks.shape[0] != STEP * (frames - 1) + 1:
        raise ValueError(
            f"{tracks.shape[0]} track frames do not fit {frames} latent frames: {STEP * (frames - 1) + 1} are needed."
        )
    first = latents[:, :1]
    if frames == 1:
        return torch.cat([torch.ones_like(first[:1]).expand(4, -1, -1, -1), first])
    tracks = tracks.to(latents.device, torch.float32)
    short = min(height, width)
    extent = torch.tensor([width / short, height / short], device=latents.device)
    start = (tracks[0, :, 1:3] / extent).clamp(-1, 1)
    features = F.grid_sample(
        first.transpose(0, 1), start[None, None].to(latents.dtype), padding_mode="zeros", align_corners=False
    )[0, :, 0].T  # [tracks, channels]
    across, down = motion_weights(tracks, height, width, temperature)
    count = tracks.shape[1]
    masks, carried = [], []
    for columns, rows in zip(*(part.split(max(1, MOST // (height * width * count))) for part in (across, down))):
        weights = rows[:, :, None] * columns[:, None]  # [some of n, height, width, tracks]
        chosen, index = weights.topk(min(topk, count), dim=-1)
        sparse = torch.zeros_like(weights).scatter_(-1, index, chosen)
        carried.append(sparse.to(features.dtype) @ features)
        masks.append(chosen.sum(-1))
    mask = torch.cat(masks).to(latents.dtype)  # [n, height, width]
    later = torch.cat(carried).permute(3, 0, 1, 2) + latents[:, 1:] * (1 - mask.clamp(0, 1))
    mask = torch.cat([torch.ones_like(mask[:1]), mask])
    return torch.cat([mask.expand(4, -1, -1, -1), torch.cat([first, later], dim=1)])
