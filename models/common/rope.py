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
    return signed_table(torch.cat(angles, dim=-1).reshape(-1, half)).to(device)


def crop_region(grid: tuple[int, int], base: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where a token grid lies in the grid that the positions were learned on: scaled to fit inside and centred.

    grid, base: (height, width) in tokens. -> (top, left), (bottom, right) in units of `base`; halves round to even.
    Source: alibaba/Tora diffusers-version/tora/t2v_pipeline.py:get_resize_crop_region_for_grid.
    """
    (height, width), (base_height, base_width) = grid, base
    if height / width > base_height / base_width:
        fit_height, fit_width = base_height, int(round(base_height / height * width))
    else:
        fit_height, fit_width = int(round(base_width / width * height)), base_width
    top, left = int(round((base_height - fit_height) / 2.0)), int(round((base_width - fit_width) / 2.0))
    return (top, left), (top + fit_height, left + fit_width)


def rotary_at(times: Tensor, rows: Tensor, columns: Tensor, head_dim: int, device: torch.device) -> Tensor:
    """Rotations of the tokens of a video grid at given positions, interleaved pairs, theta 10000.

    times, rows, columns: positions along each axis. A quarter of the channels turns with time, three eighths with each
    of the others (huggingface/diffusers embeddings.py:get_3d_rotary_pos_embed). -> [2, tokens, head_dim] for
    `apply_rotary`.
    """
    axes = list(zip((times, rows, columns), (head_dim // 4, head_dim // 8 * 3, head_dim // 8 * 3)))
    angles = []
    for i, (position, size) in enumerate(axes):
        frequency = 10000.0 ** -(torch.arange(0, size, 2, dtype=torch.float64) / size)
        shape = [1, 1, 1, size // 2]
        shape[i] = len(position)
        angle = torch.outer(position.double().cpu(), frequency).reshape(shape)
        angles.append(angle.expand(len(times), len(rows), len(columns), -1))
    return signed_table(torch.cat(angles, dim=-1).flatten(0, 2)).to(device)


def signed_table(angle: Tensor) -> Tensor:
    """[tokens, head_dim / 2] -> [2, tokens, head_dim] float32: cosines, and sines signed for `apply_rotary`."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, cos], -1), torch.stack([-sin, sin], -1)]).flatten(-2).float()


def apply_rotary(x: Tensor, table: Tensor) -> Tensor:
    """Rotates interleaved channel pairs in float32. x: [..., tokens, head_dim], overwritten where nothing learns from
    it; table: [2, tokens, head_dim].

    As a product of complex numbers, which is one pass; compilers know real numbers only.
    """
    cos, sin = table
    wide = x.float()
    if torch.compiler.is_compiling():
        swapped = wide.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
        return torch.addcmul(wide * cos, swapped, sin).to(x.dtype)
    rotation = torch.complex(cos[..., ::2], sin[..., 1::2])
    pairs = torch.view_as_complex(wide.unflatten(-1, (-1, 2)))
    pairs = pairs * rotation if torch.is_grad_enabled() else pairs.mul_(rotation)
    return torch.view_as_real(pairs).flatten(-2).to(x.dtype)


def after_text(table: Tensor, tokens: int) -> Tensor:
    """A rotary table for that many text tokens, which are not rotated, and the video tokens of `table` after them."""
    still = torch.stack([table.new_ones(tokens, table.shape[-1]), table.new_zeros(tokens, table.shape[-1])])
    return torch.cat([still, table], dim=1)


def sinusoidal_embedding(position: Tensor, dim: int) -> Tensor:
    """[batch] -> [batch, dim] float32, cosines before sines."""
    half = dim // 2
    frequency = 10000.0 ** -(torch.arange(half, dtype=torch.float64, device=position.device) / half)
    angle = torch.outer(position.double(), frequency)
    return torch.cat([angle.cos(), angle.sin()], dim=1).float()
