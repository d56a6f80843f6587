"""Decoding a picture in overlapping tiles that are blended linearly: less memory at once. Knows no VAE's inside."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

OVERLAP = 0.25  # share of a tile that it has in common with its neighbour


def starts(length: int, tile: int) -> list[int]:
    """Where the tiles of one axis begin: evenly spread, neighbours sharing at least the overlap."""
    if length <= tile:
        return [0]
    count = -(-(length - tile) // max(1, int(tile * (1 - OVERLAP)))) + 1
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def ramp(begin: int, tile: int, length: int, scale: int) -> Tensor:
    """Weights of a tile along one axis, rising and falling over the overlap except at the picture's edges. The outermost
    latent pixel, which misses most of what is round it, has next to none."""
    edge = max(1, int(tile * OVERLAP)) * scale
    unseen = min(scale, edge // 3)
    position = torch.arange(tile * scale, dtype=torch.float32) + 0.5
    rise = ((position - unseen) / (edge - 2 * unseen)).clamp(1e-6, 1)
    weight = torch.ones(tile * scale)
    if begin > 0:
        weight = torch.minimum(weight, rise)
    if begin + tile < length:
        weight = torch.minimum(weight, rise.flip(0))
    return weight


def decode_tiled(decode: Callable[[Tensor], Tensor], latents: Tensor, tile: int, scale: int) -> Tensor:
    """`decode` of [batch, channels, frames, h, w], tile by tile, accumulated on the CPU.

    tile: side of a tile in latent pixels, at least 4; scale: pixels a latent pixel.
    """
    height, width = latents.shape[-2:]
    rows, columns = min(max(tile, 4), height), min(max(tile, 4), width)
    total = norm = None
    for top in starts(height, rows):
        for left in starts(width, columns):
            part = decode(latents[..., top : top + rows, left : left + columns]).float().cpu()
            weight = ramp(top, rows, height, scale)[:, None] * ramp(left, columns, width, scale)
            if total is None:
                total = part.new_zeros(*part.shape[:-2], height * scale, width * scale)
                norm = part.new_zeros(height * scale, width * scale)
            area = (..., slice(top * scale, (top + rows) * scale), slice(left * scale, (left + columns) * scale))
            total[area] += part * weight
            norm[area] += weight
    return total / norm
