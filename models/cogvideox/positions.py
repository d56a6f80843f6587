"""Where tokens stand: rotary tables with CogVideoX's crop rule, and the fixed sinusoidal table. No parameters."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ..common.rope import crop_region, rotary_at
from .config import CogVideoXConfig


@lru_cache(maxsize=8)
def rotary_positions(config: CogVideoXConfig, grid: tuple[int, int, int], device: torch.device) -> Tensor:
    """[2, tokens, head_dim] for `apply_rotary`. grid: (frames, height, width) in tokens.

    CogVideoX 1.0 scales rows and columns into the grid that it was trained on, 1.5 counts them. Source: alibaba/Tora
    diffusers-version/tora/t2v_pipeline.py:ToraPipeline._prepare_rotary_positional_embeddings, huggingface/diffusers
    embeddings.py:get_3d_rotary_pos_embed.
    """
    frames, height, width = grid
    if config.patch_size_t == 1:
        base = config.sample_height // config.patch_size, config.sample_width // config.patch_size
        (top, left), (bottom, right) = crop_region((height, width), base)
        rows = torch.linspace(top, bottom * (height - 1) / height, height, dtype=torch.float32)
        columns = torch.linspace(left, right * (width - 1) / width, width, dtype=torch.float32)
    else:
        rows, columns = torch.arange(height), torch.arange(width)
    return rotary_at(torch.arange(frames), rows, columns, config.attention_head_dim, device)


def sinusoidal_positions(config: CogVideoXConfig, grid: tuple[int, int, int]) -> Tensor:
    """[tokens, dim] float32, a quarter for time, then columns and rows: embeddings.py:get_3d_sincos_pos_embed."""
    frames, height, width = grid
    spatial = config.dim // 4 * 3 // 2
    scale = config.spatial_interpolation_scale
    times = sines(torch.arange(frames) / config.temporal_interpolation_scale, config.dim // 4)
    rows, columns = sines(torch.arange(height) / scale, spatial), sines(torch.arange(width) / scale, spatial)
    parts = times[:, None, None], columns[None, None], rows[None, :, None]
    return torch.cat([part.expand(frames, height, width, -1) for part in parts], dim=-1).flatten(0, 2)


def sines(position: Tensor, dim: int) -> Tensor:
    """[positions] -> [positions, dim], sines before cosines."""
    frequency = 10000.0 ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim / 2))
    angle = torch.outer(position.double(), frequency)
    return torch.cat([angle.sin(), angle.cos()], dim=-1).float()
