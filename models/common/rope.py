"""Rotary and sinusoidal position tables, computed in float64 as the releases do. No parameters, no modules."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=8)
def rotary_table(grid: tuple[int, int, int], head_dim: int, device: torch.device) -> Tensor:
    """Rotations of the tokens of a video grid, interleaved pairs, theta 10000.

    grid: (frames, height, width) in tokens. -> [2, tokens, head_dim]: cosines, and sines signed for `apply_rotary`.
    The channels are split into time, height and width as Wan does: width and height take a third each (bytedance/ATI
    wan/modules/model.py:rope_apply).
    """
    half = head_dim // 2
    sizes = (half - 2 * (half // 3), half // 3, half // 3)
    angles = []
    for axis, (length, size) in enumerate(zip(grid, sizes)):
        frequency = 10000.0 ** -(torch.arange(size, dtype=torch.float64) / size)
        shape = [1, 1, 1, size]
        shape[axis] = length
        angle = torch.outer(torch.arange(length, dtype=torch.float64), frequency).reshape(shape)
        angles.append(angle.expand(*grid, size))
    angle = torch.cat(angles, dim=-1).reshape(-1, half)
    cos, sin = angle.cos(), angle.sin()
    table = torch.stack([torch.stack([cos, cos], -1), torch.stack([-sin, sin], -1)]).flatten(-2)
    return table.float().to(device)


def apply_rotary(x: Tensor, table: Tensor) -> Tensor:
    """Rotates interleaved channel pairs in float32. x: [..., tokens, head_dim]; table: [2, tokens, head_dim]."""
    cos, sin = table
    wide = x.float()
    swapped = wide.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return torch.addcmul(wide * cos, swapped, sin).to(x.dtype)


def sinusoidal_embedding(position: Tensor, dim: int) -> Tensor:
    """[batch] -> [batch, dim] float32, cosines before sines."""
    half = dim // 2
    frequency = 10000.0 ** -(torch.arange(half, dtype=torch.float64, device=position.device) / half)
    angle = torch.outer(position.double(), frequency)
    return torch.cat([angle.cos(), angle.sin()], dim=1).float()
