"""Queries, keys and values of attention: normed, rotated, split into heads. Knows no family."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .pieces import LARGE_PIECE, of_cpus, overwrites, rows
from .rope import apply_rotary


def heads_of(x: Tensor, normed: Callable[[Tensor], Tensor], table: Tensor | None = None) -> Tensor:
    """[batch, tokens, dim] -> [batch, heads, tokens, head_dim], in the memory of x where it may be overwritten, and some
    tokens at a time: norms and rotations are in float32, twice as large as x on a GPU.

    normed: [batch, tokens, dim] -> [batch, tokens, heads, head_dim], new memory. table: rotations of the tokens.
    """

    def work(part: Tensor, table: Tensor | None) -> Tensor:
        heads = normed(part)
        return heads if table is None else apply_rotary(heads.transpose(1, 2), table).transpose(1, 2)

    count = rows(x[0], 4 * x.shape[2], LARGE_PIECE // 4)
    if count >= x.shape[1] or not overwrites():
        return work(x, table).transpose(1, 2)
    tables = [None] * len(x[0].split(count)) if table is None else table.split(count, dim=1)
    for sample in x.split(1):
        for part, of_part in zip(sample.split(count, dim=1), tables):
            heads = work(part, of_part)
            part.unflatten(-1, heads.shape[2:]).copy_(heads)
    return x.unflatten(-1, heads.shape[2:]).transpose(1, 2)


def together(heads: Tensor) -> Tensor:
    """Keys or values of which each head lies together on a CPU, where torch's attention is up to a quarter faster on
    such; elsewhere as they are."""
    return heads if heads.device.type not in of_cpus or torch.is_grad_enabled() else heads.contiguous()
