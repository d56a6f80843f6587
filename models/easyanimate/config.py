"""The sizes of an EasyAnimate V5.1 transformer and VAE: what a checkpoint's metadata or shapes say, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EasyAnimateConfig:
    """Names of aigc-apps/EasyAnimate easyanimate/models/transformer3d.py:EasyAnimateTransformer3DModel, sizes of the
    12B.

    in_channels: 16 noisy latents and what the variant adds. mmdit_layers: how many blocks, from the first, have weights
    of their own for text; in the others text and video share them. text_len: tokens of a prompt, padding included
    (easyanimate/pipeline/pipeline_easyanimate.py:encode_prompt; a small model of our own takes fewer).
    """

    in_channels: int = 16
    out_channels: int = 16
    num_attention_heads: int = 48
    attention_head_dim: int = 64
    num_layers: int = 48
    mmdit_layers: int = 48
    text_embed_dim: int = 3584
    time_embed_dim: int = 512
    patch_size: int = 2
    text_len: int = 256
    norm_eps: float = 1e-5

    @property
    def dim(self) -> int:
        return self.num_attention_heads * self.attention_head_dim


@dataclass(frozen=True)
class EasyAnimateVAEConfig:
    """Names and defaults of easyanimate/models/autoencoder_magvit.py:AutoencoderKLMagvit as V5.1 is configured: the
    first level halves the picture only, those between halve the frames too, the last nothing."""

    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    latent_channels: int = 16
    layers_per_block: int = 2
    norm_num_groups: int = 32
