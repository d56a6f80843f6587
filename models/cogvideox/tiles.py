"""Frames through a VAE in overlapping tiles, blended as diffusers blends CogVideoX's. Knows no network.

Source: huggingface/diffusers models/autoencoders/autoencoder_kl_cogvideox.py:AutoencoderKLCogVideoX.tiled_encode,
tiled_decode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

OVERLAP = (1 / 6, 1 / 5)  # shares of a tile's height and width
STEPS = (6 * 8, 5 * 8)  # pixels: heights and widths of which the overlap is whole latent pixels


@dataclass(frozen=True)
class Tiling:
    """Sides of a tile in pixels, multiples of STEPS: else what is kept of the tiles would not join up."""

    height: int
    width: int

    @classmethod
    def of_side(cls, side: int | None) -> Tiling | None:
        """Nearly square tiles of at most that side, but not of a few latent pixels; None for None."""
        if side is None:
            return None
        return cls(*(max(2 * step, side // step * step) for step in STEPS))


def in_tiles(run: Callable[[Tensor], Tensor], x: Tensor, tiling: Tiling | None, scale: float) -> Tensor:
    """`run` of x [batch, channels, frames, h, w], whose output is `scale` times as high and wide, tile by tile where x
    is larger than a tile. scale: 8 for a decoder, 1/8 for an encoder; the tile is in pixels for both."""
    if tiling is None:
        return run(x)
    sides = tiling.height, tiling.width
    into = [int(side / scale) if scale > 1 else side for side in sides]  # of the tiles that go in
    out = [side if scale > 1 else int(side * scale) for side in sides]  # and of those that come out
    if x.shape[-2] <= into[0] and x.shape[-1] <= into[1]:
        return run(x)
    steps = [int(side * (1 - share)) for side, share in zip(into, OVERLAP)]
    blend = [int(side * share) for side, share in zip(out, OVERLAP)]
    keep = [side - width for side, width in zip(out, blend)]
    rows: list[list[Tensor]] = []
    for top in range(0, x.shape[-2], steps[0]):
        row = []
        for left in range(0, x.shape[-1], steps[1]):
            tile = run(x[..., top : top + into[0], left : left + into[1]])
            if rows:
                blend_edge(rows[-1][len(row)], tile, blend[0], dim=-2)
            if row:
                blend_edge(row[-1], tile, blend[1], dim=-1)
            row.append(tile)
        rows.append(row)
    return torch.cat([torch.cat([tile[..., : keep[0], : keep[1]] for tile in row], dim=-1) for row in rows], dim=-2)


def blend_edge(before: Tensor, tile: Tensor, width: int, dim: int) -> None:
    """Changes the first `width` rows (columns) of `tile`, linearly from the last ones of the tile before to its own."""
    width = min(before.shape[dim], tile.shape[dim], width)
    shape = [1] * tile.ndim
    shape[dim] = width
    share = (torch.arange(width, dtype=torch.float32, device=tile.device) / max(width, 1)).to(tile.dtype).view(shape)
    edge = tile.narrow(dim, 0, width)
    edge.copy_(before.narrow(dim, before.shape[dim] - width, width) * (1 - share) + edge * share)
