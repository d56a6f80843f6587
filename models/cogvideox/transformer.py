"""The diffusion transformer of CogVideoX with Tora's trajectory branch, under the parameter names of diffusers.

Plain modules: precision, fp8 and swapping are applied from outside; files and samplers are unknown here. Source:
alibaba/Tora diffusers-version/tora/transformer_3d.py (ToraTransformer3DModel), huggingface/diffusers
models/transformers/cogvideox_transformer_3d.py and the layers that it is made of.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..common.attention import attention
from ..common.feed_forward import FeedForward
from ..common.heads import heads_of, together
from ..common.norm import added_apart, modulated
from ..common.rope import after_text, sinusoidal_embedding
from ..common.step_cache import StepCache, through
from .config import CogVideoXConfig
from .positions import rotary_positions, sinusoidal_positions
from .tora import MotionFuser, TrajectoryExtractor


class PatchEmbed(nn.Module):
    """Latents and text -> tokens; in image-to-video models of version 1.0 with a learned table of positions."""

    def __init__(self, config: CogVideoXConfig):
        super().__init__()
        self.config = config
        t, p = config.patch_size_t, config.patch_size
        if t == 1:
            self.proj = nn.Conv2d(config.in_channels, config.dim, p, p)
        else:
            self.proj = nn.Linear(config.in_channels * t * p * p, config.dim)
        self.text_proj = nn.Linear(config.text_embed_dim, config.dim)
        if config.use_learned_positional_embeddings:
            tokens = config.max_text_seq_length + grid_of(config, latent_frames(config), *latent_size(config)).numel()
            self.register_buffer("pos_embedding", torch.zeros(1, tokens, config.dim))

    def forward(self, text: Tensor, x: Tensor) -> Tensor:
        """[batch, text tokens, text_embed_dim], [batch, channels, frames, height, width] -> [batch, tokens, dim]."""
        frames, height, width = x.shape[2:]
        t, p = self.config.patch_size_t, self.config.patch_size
        x = x.transpose(1, 2)  # [batch, frames, channels, height, width]
        if t == 1:
            video = self.proj(x.flatten(0, 1)).unflatten(0, (-1, frames)).flatten(3).transpose(2, 3).flatten(1, 2)
        else:
            x = x.unflatten(4, (-1, p)).unflatten(3, (-1, p)).unflatten(1, (-1, t))
            video = self.proj(x.permute(0, 1, 4, 6, 3, 2, 5, 7).flatten(4).flatten(1, 3))
        tokens = torch.cat([self.text_proj(text), video], dim=1)
        if not self.config.use_learned_positional_embeddings:
            return tokens
        return tokens + self.positions(text.shape[1], frames, height, width).to(tokens)

    def positions(self, text: int, frames: int, height: int, width: int) -> Tensor:
        """The learned table, or for another number of frames than it was learned for a sinusoidal one, as diffusers
        does (embeddings.py:CogVideoXPatchEmbed.forward)."""
        if (frames, height, width) == (latent_frames(self.config), *latent_size(self.config)):
            return self.pos_embedding
        grid = tuple(grid_of(self.config, frames, height, width))
        return F.pad(sinusoidal_positions(self.config, grid), (0, 0, text, 0))[None]


class LayerNormZero(nn.Module):
    """One norm for text and video tokens, each with its own shift, scale and gate from the time embedding."""

    def __init__(self, config: CogVideoXConfig):
        super().__init__()
        self.linear = nn.Linear(config.time_embed_dim, 6 * config.dim)
        self.norm = nn.LayerNorm(config.dim, config.norm_eps)

    def forward(self, tokens: Tensor, words: int, time: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """tokens: [batch, tokens, dim], the first `words` of the text. -> them modulated; gates of text and video."""
        values = self.linear(F.silu(time))[:, None].chunk(6, dim=-1)
        shift, scale, gate, text_shift, text_scale, text_gate = values
        normed = modulated(self.norm, tokens, shift, scale)
        normed[:, :words] = modulated(self.norm, tokens[:, :words], text_shift, text_scale)
        return normed, (text_gate, gate)


class Attention(nn.Module):
    """Joint attention of text and video tokens, q and k normalised in each head; only video tokens are rotated."""

    attend_by = staticmethod(attention)

    def __init__(self, config: CogVideoXConfig):
        super().__init__()
        dim, head_dim = config.dim, config.attention_head_dim
        self.num_heads = config.num_attention_heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])
        self.norm_q, self.norm_k = nn.LayerNorm(head_dim, 1e-6), nn.LayerNorm(head_dim, 1e-6)

    def qkv(self, x: Tensor, rotary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x: [batch, tokens, dim]; rotary: of text and video tokens, see `after_text`."""
        q = heads_of(self.to_q(x), lambda part: self.norm_q(self.split(part)), rotary)
        k = together(heads_of(self.to_k(x), lambda part: self.norm_k(self.split(part)), rotary))
        return q, k, together(self.split(self.to_v(x)).transpose(1, 2))

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1))  # [batch, tokens, heads, head_dim]


Motion = tuple[MotionFuser, Tensor, tuple[int, int, int]]  # a fuser, its feature, the grid of the tokens


def fused(video: Tensor, fuser: MotionFuser, feature: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """Video tokens [batch, tokens, dim] with the motion of a feature. No closure: blocks are compiled once for all."""
    frames, height, width = grid
    h = video.unflatten(1, (frames, height * width)).flatten(0, 1).transpose(1, 2)
    h = fuser(h.unflatten(2, (height, width)), feature, frames)
    return h.flatten(2).transpose(1, 2).unflatten(0, (-1, frames)).flatten(1, 2)


class Block(nn.Module):
    def __init__(self, config: CogVideoXConfig):
        super().__init__()
        self.norm1 = LayerNormZero(config)
        self.attn1 = Attention(config)
        self.norm2 = LayerNormZero(config)
        self.ff = FeedForward(config.dim)

    def forward(
        self, tokens: Tensor, words: int, time: Tensor, rotary: Tensor, motion: Motion | None = None
    ) -> Tensor:  # fmt: skip
        """tokens: [batch, tokens, dim], the first `words` of the text; motion: what guides the others on their way into
        the attention."""
        h, gates = self.attend(tokens, words, time, rotary, motion)
        tokens = added_apart(tokens, self.attn1.to_out[0](h), words, gates)
        h, gates = self.norm2(tokens, words, time)
        return added_apart(tokens, self.ff(h), words, gates)

    def attend(
        self, tokens: Tensor, words: int, time: Tensor, rotary: Tensor, motion: Motion | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # fmt: skip
        """What the attention gives, and the gates of text and video. Nothing else of it is left."""
        normed, gates = self.norm1(tokens, words, time)
        if motion is not None:
            normed = torch.cat([normed[:, :words], fused(normed[:, words:], *motion)], dim=1)
        q, k, v = self.attn1.qkv(normed, rotary)
        del normed
        return self.attn1.attend_by(q, k, v), gates


class TimeEmbedding(nn.Module):
    def __init__(self, in_dim: int, dim: int):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(in_dim, dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class NormOut(nn.Module):
    def __init__(self, config: CogVideoXConfig):
        super().__init__()
        self.linear = nn.Linear(config.time_embed_dim, 2 * config.dim)
        self.norm = nn.LayerNorm(config.dim, config.norm_eps)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return modulated(self.norm, x, *self.linear(F.silu(time))[:, None].chunk(2, dim=-1))


class CogVideoXTransformer(nn.Module):
    """Predicts v (sqrt(a) * noise - sqrt(1 - a) * video) of a noisy latent video."""

    def __init__(self, config: CogVideoXConfig):
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config)
        self.time_embedding = TimeEmbedding(config.dim, config.time_embed_dim)
        if config.ofs_embed_dim:
            self.ofs_embedding = TimeEmbedding(config.ofs_embed_dim, config.ofs_embed_dim)
        self.transformer_blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm_final = nn.LayerNorm(config.dim, config.norm_eps)
        self.norm_out = NormOut(config)
        self.proj_out = nn.Linear(config.dim, config.out_channels * config.patch_size_t * config.patch_size**2)
        if config.traj_extractor_channels:
            features, patch = (
                config.traj_extractor_channels,
                (config.patch_size_t, config.patch_size, config.patch_size),
            )
            self.traj_extractor = TrajectoryExtractor(config.out_channels, features, config.num_layers, patch)
            self.fuser = nn.ModuleList(MotionFuser(features, config.dim) for _ in range(config.num_layers))

    def forward(
        self, x: Tensor, t: Tensor, text: Tensor, image: Tensor | None = None, flow: Tensor | None = None,
        strength: float | Tensor = 1.0, cache: StepCache | None = None, kept: dict | None = None,
    ) -> Tensor:  # fmt: skip
        """v of `x`.

        x: [batch, out_channels, frames, height, width] noisy latents, sides multiples of the patch size. t: [batch]
        timesteps 0..999. text: [batch, tokens, text_embed_dim]. image: [batch, in_channels - out_channels, frames,
        height, width] latents of the start image (i2v). flow: [batch, out_channels, frames, height, width] latents of
        the flow video (Tora), or None for plain CogVideoX; strength: factor of its features. cache: of this run; where
        it says so, the blocks are skipped and their last change is used again. kept: a dict that is given again at each
        step with the same flow and strength, which keeps their features. -> the shape of x.
        """
        config = self.config
        time = self.time_embedding(sinusoidal_embedding(t, config.dim).to(x.dtype))
        if config.ofs_embed_dim:  # a constant 2: huggingface/diffusers pipeline_cogvideox_image2video.py
            offset = torch.full_like(t, 2.0, dtype=torch.float32)
            time = time + self.ofs_embedding(sinusoidal_embedding(offset, config.ofs_embed_dim).to(x.dtype))
        grid = tuple(grid_of(config, *x.shape[2:]))
        words = text.shape[1]
        rotary = after_text(rotary_positions(config, grid, x.device), words)
        known = {} if kept is None or flow is None else kept
        if "features" not in known:
            none = [None] * config.num_layers
            known["features"] = none if flow is None else self.traj_extractor(flow, strength)
        features = known["features"]

        def run(tokens: Tensor) -> Tensor:
            for index, block in enumerate(self.transformer_blocks):
                motion = None if features[index] is None else (self.fuser[index], features[index], grid)
                tokens = block(tokens, words, time, rotary, motion)
            return tokens

        def embedded() -> Tensor:
            return self.patch_embed(text, x if image is None else torch.cat([x, image], dim=1))

        video = through(cache, lambda _: time, embedded, run)[:, words:]
        return self.unpatchify(self.proj_out(self.norm_out(self.norm_final(video), time)), grid)

    def unpatchify(self, x: Tensor, grid: tuple[int, int, int]) -> Tensor:
        t, p = self.config.patch_size_t, self.config.patch_size
        x = x.unflatten(1, grid).unflatten(4, (-1, t, p, p))
        x = x.permute(0, 4, 1, 5, 2, 6, 3, 7)  # [batch, channels, frames, t, height, p, width, p]
        return x.flatten(6).flatten(4, 5).flatten(2, 3)


def grid_of(config: CogVideoXConfig, frames: int, height: int, width: int) -> torch.Size:
    """(frames, height, width) in tokens of a latent video."""
    return torch.Size((frames // config.patch_size_t, height // config.patch_size, width // config.patch_size))


def latent_frames(config: CogVideoXConfig) -> int:
    return (config.sample_frames - 1) // config.temporal_compression_ratio + 1


def latent_size(config: CogVideoXConfig) -> tuple[int, int]:
    return config.sample_height, config.sample_width
