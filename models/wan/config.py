"""The sizes of a Wan 2.1 transformer and VAE: what a checkpoint's metadata or shapes say, as data. No tensors here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WanConfig:
    """Names and defaults of bytedance/ATI wan/modules/model.py:WanModel."""

    model_type: str = "i2v"
    dim: int = 5120
    ffn_dim: int = 13824
    num_heads: int = 40
    num_layers: int = 40
    text_dim: int = 4096
    freq_dim: int = 256
    in_dim: int = 36
    out_dim: int = 16
    text_len: int = 512
    clip_dim: int = 1280
    patch_size: tuple[int, int, int] = (1, 2, 2)
    eps: float = 1e-6


@dataclass(frozen=True)
class WanVAEConfig:
    """Names and defaults of bytedance/ATI wan/modules/vae.py:_video_vae."""

    dim: int = 96
    z_dim: int = 16
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    temperal_downsample: tuple[bool, ...] = (False, True, True)
