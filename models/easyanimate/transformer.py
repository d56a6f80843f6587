"""The diffusion transformer of EasyAnimate V5.1 (7B and 12B), under the official parameter names.

Plain modules: precision, fp8 and swapping are applied from outside; files, samplers and what the extra channels hold
are unknown here. Source: aigc-apps/EasyAnimate easyanimate/models/transformer3d.py (EasyAnimateTransformer3DModel),
attention.py (EasyAnimateDiTBlock), processor.py (EasyAnimateAttnProcessor2_0). The release ignores the text mask:
padded tokens are attended to.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..common.attention import attention
from ..common.feed_forward import FeedForward
from ..common.heads import heads_of
from ..common.norm import RMSNorm, added, modulated
from ..common.rope import crop_region, rotary_at, sinusoidal_embedding
from ..common.step_cache import StepCache, through
from .config import EasyAnimateConfig

BASE = (30, 45)  # tokens of 480 x 720 pixels, the grid on which positions were learned


@lru_cache(maxsize=8)
def rotary_table(grid: tuple[int, int, int], head_dim: int, device: torch.device) -> Tensor:
    """Rotations of a (frames, height, width) token grid: height and width are those of BASE, scaled into it.

    Positions start at the crop's corner and end one step before its far one, as in diffusers 0.30 and 0.31, which the
    release pins (embeddings.py:get_3d_rotary_pos_embed); later versions place them differently.
    """
    frames, *size = grid
    start, stop = crop_region(tuple(size), BASE)
    rows, columns = (
        low + torch.arange(count, dtype=torch.float64) * (high - low) / count
        for low, high, count in zip(start, stop, size)
    )
    return rotary_at(torch.arange(frames, dtype=torch.float64), rows, columns, head_dim, device)


class TimeEmbedding(nn.Module):
    def __init__(self, in_dim: int, out_dim: int):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(in_dim, out_dim), nn.Linear(out_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class ModulatedNorm(nn.Module):
    """A LayerNorm that the timestep shifts and scales; `parts` chunks of the width come from it."""

    def __init__(self, config: EasyAnimateConfig, parts: int):
        super().__init__()
        self.parts = parts
        self.linear = nn.Linear(config.time_embed_dim, parts * config.dim)
        self.norm = nn.LayerNorm(config.dim, config.norm_eps)

    def chunks(self, time: Tensor) -> tuple[Tensor, ...]:
        """[batch, time_embed_dim] -> `parts` of [batch, 1, dim]: shift, scale, gate of the video, then of the text."""
        return self.linear(F.silu(time)).unsqueeze(1).chunk(self.parts, dim=-1)

    def forward(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return modulated(self.norm, x, shift, scale)


class Projections(nn.Module):
    """Queries, keys and values of one stream of tokens, and the way back; norms are per head."""

    def __init__(self, config: EasyAnimateConfig):
        super().__init__()
        dim, head_dim = config.dim, config.attention_head_dim
        self.heads = config.num_attention_heads
        self.norm_q, self.norm_k = nn.LayerNorm(head_dim, 1e-6), nn.LayerNorm(head_dim, 1e-6)
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])

    def q(self, x: Tensor, rotary: Tensor | None = None) -> Tensor:
        """-> [batch, heads, tokens, head_dim]; so do k and v."""
        return heads_of(self.to_q(x), lambda part: self.norm_q(self.split(part)), rotary)

    def k(self, x: Tensor, rotary: Tensor | None = None) -> Tensor:
        return heads_of(self.to_k(x), lambda part: self.norm_k(self.split(part)), rotary)

    def v(self, x: Tensor) -> Tensor:
        return self.split(self.to_v(x)).transpose(1, 2)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1))  # [batch, tokens, heads, head_dim]


class Block(nn.Module):
    """Joint attention of video and text, then feed-forward; `mmdit`: the text has its own weights for both."""

    attend_by = staticmethod(attention)

    def __init__(self, config: EasyAnimateConfig, mmdit: bool):
        super().__init__()
        self.norm1 = ModulatedNorm(config, 6)
        self.attn1 = Projections(config)
        self.attn2 = Projections(config) if mmdit else None
        self.norm2 = ModulatedNorm(config, 6)
        self.ff = FeedForward(config.dim)
        self.txt_ff = FeedForward(config.dim) if mmdit else None

    def forward(self, video: Tensor, text: Tensor, time: Tensor, rotary: Tensor) -> tuple[Tensor, Tensor]:
        """video: [batch, tokens, dim]; text: [batch, text tokens, dim]; time: [batch, time_embed_dim]."""
        shift, scale, gate, text_shift, text_scale, text_gate = self.norm1.chunks(time)
        q, k, v = self.qkv(self.norm1(video, shift, scale), self.norm1(text, text_shift, text_scale), rotary)
        joint, count = self.attend_by(q, k, v), text.shape[1]
        del q, k, v
        video = added(video, self.attn1.to_out[0](joint[:, count:]), gate)
        text = added(text, self.of_text.to_out[0](joint[:, :count]), text_gate)
        del joint

        shift, scale, gate, text_shift, text_scale, text_gate = self.norm2.chunks(time)
        text_ff = self.ff if self.txt_ff is None else self.txt_ff
        video = added(video, self.ff(self.norm2(video, shift, scale)), gate)
        return video, added(text, text_ff(self.norm2(text, text_shift, text_scale)), text_gate)

    @property
    def of_text(self) -> Projections:
        return self.attn1 if self.attn2 is None else self.attn2

    def qkv(self, video: Tensor, text: Tensor, rotary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of all tokens, the text's first; only the video's have positions. Queries lie by tokens, as what is attended
        will, keys and values by heads."""
        q = [y.transpose(1, 2) for y in (self.of_text.q(text), self.attn1.q(video, rotary))]
        q = torch.cat(q, dim=1).transpose(1, 2)
        k = torch.cat([self.of_text.k(text), self.attn1.k(video, rotary)], dim=2)
        return q, k, torch.cat([self.of_text.v(text), self.attn1.v(video)], dim=2)


class EasyAnimateTransformer(nn.Module):
    """Predicts the flow (noise minus video) of a noisy latent video."""

    def __init__(self, config: EasyAnimateConfig):
        super().__init__()
        self.config = config
        dim = config.dim
        self.time_embedding = TimeEmbedding(dim, config.time_embed_dim)
        self.proj = nn.Conv2d(config.in_channels, dim, config.patch_size, config.patch_size)
        self.text_proj = nn.Sequential(RMSNorm(config.text_embed_dim, 1e-6), nn.Linear(config.text_embed_dim, dim))
        self.transformer_blocks = nn.ModuleList(
            Block(config, i < config.mmdit_layers) for i in range(config.num_layers)
        )
        self.norm_final = nn.LayerNorm(dim, config.norm_eps)
        self.norm_out = ModulatedNorm(config, 2)
        self.proj_out = nn.Linear(dim, config.patch_size**2 * config.out_channels)

    def forward(
        self, x: Tensor, t: Tensor, context: Tensor, y: Tensor | None = None, cache: StepCache | None = None
    ) -> Tensor:
        """Flow of `x`.

        x: [batch, out_channels, frames, height, width] noisy latents; height and width multiples of the patch size.
        t: [batch] timesteps in 0..1000, fractions and all. context: [batch, tokens, text_embed_dim].
        y: [batch, in_channels - out_channels, frames, height, width], what the variant is conditioned on.
        cache: of this run; where it says so, the blocks are skipped and their last change is used again.
        -> [batch, out_channels, frames, height, width]
        """
        time = self.time_embedding(sinusoidal_embedding(t, self.config.dim).to(x.dtype))
        x = x if y is None else torch.cat([x, y], dim=1)
        grid = (x.shape[2], *(side // self.config.patch_size for side in x.shape[3:]))
        rotary, text = rotary_table(grid, self.config.attention_head_dim, x.device), self.text_proj(context)

        def run(video: Tensor) -> Tensor:
            words = text
            for block in self.transformer_blocks:
                video, words = block(video, words, time, rotary)
            return self.norm_out(self.norm_final(video), *self.norm_out.chunks(time))

        hidden = through(cache, lambda tokens: self.first_input(tokens, time), lambda: self.patches(x), run)
        return self.unpatchify(self.proj_out(hidden), grid)

    def patches(self, x: Tensor) -> Tensor:
        """-> [batch, tokens, dim] in the order (frame, row, column)."""
        frames = x.shape[2]
        x = self.proj(x.transpose(1, 2).flatten(0, 1)).flatten(2)  # [batch * frames, dim, rows * columns]
        return x.transpose(1, 2).unflatten(0, (-1, frames)).flatten(1, 2)

    def first_input(self, tokens: Tensor, time: Tensor) -> Tensor:
        """What the first block's attention sees of the video: the text has no part in it."""
        norm = self.transformer_blocks[0].norm1
        return norm(tokens, *norm.chunks(time)[:2])

    def unpatchify(self, x: Tensor, grid: tuple[int, int, int]) -> Tensor:
        frames, rows, columns = grid
        p = self.config.patch_size
        x = x.reshape(x.shape[0], frames, rows, columns, self.config.out_channels, p, p)
        x = x.permute(0, 4, 1, 2, 5, 3, 6)  # [batch, channels, frames, rows, p, columns, p]
        return x.flatten(5, 6).flatten(3, 4)
