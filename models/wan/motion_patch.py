"""ATI's motion patch: first-frame features carried along the tracks into the image conditioning. Only the maths.

Source: bytedance/ATI wan/modules/motion_patch.py:patch_motion with training=False, its quirks included: point features
come from frame 0 whether or not the point is visible there; they are sampled with align_corners=False while the weights
stand on a grid whose ends are the corner pixels; the mask is the sum of the weights and may exceed 1.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

STEP = 4  # video frames a latent frame
LEAST = 1e-8  # weights below it are left out: beside latents of about 1 they vanish in float32


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
    )[0, :, 0].T.contiguous()  # [tracks, channels]
    weights, index, reached = strongest(tracks, height, width, temperature, topk)
    weights = weights.to(features.dtype)
    mask = weights.sum(-1)
    still = 1 - mask.clamp(0, 1)
    result = latents.new_empty(4 + len(latents), frames, height, width)
    result[:4, :1], result[:4, 1:], result[4:] = 1, mask, latents
    for frame, rows in enumerate(reached):  # frame by frame, in memory that the cache holds
        place, share = result[4:, 1 + frame, rows], weights[frame, rows]
        if len(features) <= topk:  # each track has a column of its own: nothing to be looked up
            place.mul_(still[frame, rows])
            for of_track, column in zip(features, share.unbind(-1)):
                place.addcmul_(of_track[:, None, None], column)
            continue
        carried = F.embedding_bag(
            index[frame, rows].flatten(0, 1), features, mode="sum", per_sample_weights=share.flatten(0, 1)
        )
        torch.addcmul(carried.T.unflatten(1, (-1, width)), place, still[frame, rows], out=place)
    return result


def strongest(
    tracks: Tensor, height: int, width: int, temperature: float, topk: int
) -> tuple[Tensor, Tensor, list[slice]]:  # fmt: skip
    """The largest `topk` weights at each position and the tracks that they are of, both [n, height, width, topk], and
    for each frame the rows that its tracks reach.

    Arguments as for `motion_weights`; where there are no more than `topk` tracks, they come in their order. Each track
    is looked at where its weight is not below LEAST only.
    """
    across, down = motion_weights(tracks, height, width, temperature)
    frames, count = len(across), across.shape[2]
    reach = (-math.log(LEAST) / temperature) ** 0.5
    (left, columns), (top, rows) = (box(part, reach * min(height, width) / 2) for part in (across, down))
    across = across.gather(1, left[:, None] + torch.arange(columns, device=left.device)[:, None])
    down = down.gather(1, top[:, None] + torch.arange(rows, device=top.device)[:, None])
    corner = (torch.arange(frames, device=left.device)[:, None] * height + top) * width + left  # [n, tracks]
    inside = torch.arange(rows, device=left.device)[:, None] * width + torch.arange(columns, device=left.device)
    # Weight and track in one integer: positive floats are ordered as their bits are.
    best = torch.zeros(frames * height * width, min(topk, count), dtype=torch.int64, device=left.device)
    for track in range(count):
        at = (corner[:, track, None, None] + inside).flatten()
        weight = (down[:, :, None, track] * across[:, None, :, track]).flatten()
        entry = (weight.view(torch.int32).to(torch.int64) << 32) + track
        if count <= topk:
            best[at, track] = entry
            continue
        for column in best.unbind(1):
            held = column[at]
            column[at], entry = torch.maximum(held, entry), torch.minimum(held, entry)
    index, weights = best.view(torch.int32).view(frames, height, width, -1, 2).movedim(-1, 0).contiguous()
    reached = [slice(first, last + rows) for first, last in zip(top.amin(1).tolist(), top.amax(1).tolist())]
    return weights.view(torch.float32), index, reached


def box(weights: Tensor, reach: float) -> tuple[Tensor, int]:
    """Where the weights [n, length, tracks] of an axis must be looked at, up to `reach` from the largest: the first
    position, [n, tracks], and how many."""
    length, half = weights.shape[1], math.ceil(reach + 0.5)
    count = min(length, 2 * half + 1)
    return (weights.argmax(1) - half).clamp(0, length - count), count
