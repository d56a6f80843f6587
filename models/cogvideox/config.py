"""The sizes of a CogVideoX or Tora transformer and of its VAE: what a checkpoint's metadata or shapes say, as data.
No tensors here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CogVideoXConfig:
    """Names of huggingface/diffusers CogVideoXTransformer3DModel, values of CogVideoX-5B.

    patch_size_t: 1 is CogVideoX 1.0 (null in its config.json), 2 is 1.5. sample_width, sample_height: the latent size
    that rotary positions are scaled to. sample_frames: of a video. ofs_embed_dim: 0 where there is none.
    traj_extractor_channels: width of Tora's trajectory features, 0 in a plain CogVideoX.
    """

    num_attention_heads: int = 48
    attention_head_dim: int = 64
    in_channels: int = 16
    out_channels: int = 16
    time_embed_dim: int = 512
    ofs_embed_dim: int = 0
    text_embed_dim: int = 4096
    num_layers: int = 42
    sample_width: int = 90
    sample_height: int = 60
    sample_frames: int = 49
    patch_size: int = 2
    patch_size_t: int = 1
    temporal_compression_ratio: int = 4
    max_text_seq_length: int = 226
    norm_eps: float = 1e-5
    spatial_interpolation_scale: float = 1.875
    temporal_interpolation_scale: float = 1.0
    use_learned_positional_embeddings: bool = False
    traj_extractor_channels: int = 0

    @property
    def dim(self) -> int:
        return self.num_attention_heads * self.attention_head_dim

    @property
    def variant(self) -> str:
        return "t2v" if self.in_channels == self.out_channels else "i2v"


@dataclass(frozen=True)
class CogVideoXVAEConfig:
    """Names and values of huggingface/diffusers AutoencoderKLCogVideoX as CogVideoX-5B sets them.

    sample_height, sample_width: pixels; half of them is the size of a tile. scaling_factor: normalised latents are
    plain ones times it. invert_scale_latents: those of the start image are divided by it instead (CogVideoX 1.5).
    """

    block_out_channels: tuple[int, ...] = (128, 256, 256, 512)
    latent_channels: int = 16
    layers_per_block: int = 3
    norm_num_groups: int = 32
    norm_eps: float = 1e-6
    temporal_compression_ratio: int = 4
    sample_height: int = 480
    sample_width: int = 720
    scaling_factor: float = 0.7
    invert_scale_latents: bool = False
