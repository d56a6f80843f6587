"""The diffusion transformer of Wan 2.1 (text- and image-to-video), under the official parameter names.

Plain modules: precision, fp8 and swapping are applied from outside; files and samplers are unknown here.
Source: bytedance/ATI wan/modules/model.py (WanModel). Order in a block, float64 tables and the split of the
cross-attention context into text and image tokens are the release's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..common.attention import attention
from ..common.feed_forward import feed_forward
from ..common.heads import heads_of, together
from ..common.norm import RMSNorm, added, modulated
from ..common.rope import rotary_table, sinusoidal_embedding
from ..common.step_cache import StepCache, through
from .config import WanConfig


class Attention(nn.Module):
    attend_by = staticmethod(attention)

    def __init__(self, config: WanConfig):
        super().__init__()
        dim = config.dim
        self.num_heads = config.num_heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = RMSNorm(dim, config.eps), RMSNorm(dim, config.eps)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1))  # [batch, tokens, heads, head_dim]

    def heads(self, x: Tensor, norm: nn.Module, rotary: Tensor | None = None) -> Tensor:
        """[batch, tokens, dim], which may be overwritten -> [batch, heads, tokens, head_dim]."""
        return heads_of(x, lambda part: self.split(norm(part)), rotary)

    def keys(self, x: Tensor, norm: nn.Module, rotary: Tensor | None = None) -> Tensor:
        return together(self.heads(x, norm, rotary))

    def values(self, x: Tensor) -> Tensor:
        return together(self.split(x).transpose(1, 2))


class SelfAttention(Attention):
    def qkv(self, x: Tensor, rotary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k = self.heads(self.q(x), self.norm_q, rotary), self.keys(self.k(x), self.norm_k, rotary)
        return q, k, self.values(self.v(x))


class CrossAttention(Attention):
    """Attention to the text and, in i2v models, separately to the image tokens; both results are added."""

    def __init__(self, config: WanConfig):
        super().__init__(config)
        self.image = config.model_type == "i2v"
        if self.image:
            self.k_img, self.v_img = nn.Linear(config.dim, config.dim), nn.Linear(config.dim, config.dim)
            self.norm_k_img = RMSNorm(config.dim, config.eps)

    def queries(self, x: Tensor) -> Tensor:
        return self.heads(self.q(x), self.norm_q)

    def attend(self, q: Tensor, text: Tensor, image: Tensor | None, kept: dict | None = None) -> Tensor:
        """kept: of this layer and prompt, where its keys and values are kept from step to step."""
        known = {} if kept is None else kept
        if not known:
            known["text"] = self.keys(self.k(text), self.norm_k), self.values(self.v(text))
            if self.image and image is not None:
                known["image"] = self.keys(self.k_img(image), self.norm_k_img), self.values(self.v_img(image))
        out = self.attend_by(q, *known["text"])
        return added(out, self.attend_by(q, *known["image"])) if "image" in known else out


class Block(nn.Module):
    def __init__(self, config: WanConfig):
        super().__init__()
        dim = config.dim
        self.norm1 = nn.LayerNorm(dim, config.eps, elementwise_affine=False)
        self.self_attn = SelfAttention(config)
        self.norm3 = nn.LayerNorm(dim, config.eps)
        self.cross_attn = CrossAttention(config)
        self.norm2 = nn.LayerNorm(dim, config.eps, elementwise_affine=False)
        self.ffn = nn.Sequential(nn.Linear(dim, config.ffn_dim), nn.GELU("tanh"), nn.Linear(config.ffn_dim, dim))
        self.modulation = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)

    def forward(
        self, x: Tensor, time: Tensor, rotary: Tensor, text: Tensor, image: Tensor | None, kept: dict | None = None
    ) -> Tensor:  # fmt: skip
        """x: [batch, tokens, dim]; time: [batch, 6, dim] float32; kept: see CrossAttention.

        What goes into a call lives as long as it: so attention is given heads, and not the tokens that they are made of.
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = (time + self.modulation.float()).chunk(6, dim=1)
        own, cross = self.self_attn, self.cross_attn
        x = added(x, own.o(own.attend_by(*own.qkv(modulated(self.norm1, x, shift1, scale1), rotary))), gate1.to(x.dtype))
        x = added(x, cross.o(cross.attend(cross.queries(self.norm3(x)), text, image, kept)))
        fed = feed_forward(modulated(self.norm2, x, shift2, scale2), self.ffn[0], self.ffn[2])
        return added(x, fed, gate2.to(x.dtype))


class Head(nn.Module):
    def __init__(self, config: WanConfig):
        super().__init__()
        dim, (t, h, w) = config.dim, config.patch_size
        self.norm = nn.LayerNorm(dim, config.eps, elementwise_affine=False)
        self.head = nn.Linear(dim, t * h * w * config.out_dim)
        self.modulation = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        shift, scale = (time.unsqueeze(1) + self.modulation.float()).chunk(2, dim=1)
        return self.head(modulated(self.norm, x, shift, scale))


class ImageEmbedding(nn.Module):
    """CLIP tokens -> tokens of the transformer's width."""

    def __init__(self, in_dim: int, out_dim: int):
        super().__init__()
        self.proj = nn.Sequential(
            nn.LayerNorm(in_dim),
            nn.Linear(in_dim, in_dim),
            nn.GELU(),
            nn.Linear(in_dim, out_dim),
            nn.LayerNorm(out_dim),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        return self.proj(tokens)


class WanTransformer(nn.Module):
    """Predicts the flow (noise minus video) of a noisy latent video."""

    def __init__(self, config: WanConfig):
        super().__init__()
        self.config = config
        dim = config.dim
        self.patch_embedding = nn.Conv3d(config.in_dim, dim, config.patch_size, config.patch_size)
        self.text_embedding = nn.Sequential(nn.Linear(config.text_dim, dim), nn.GELU("tanh"), nn.Linear(dim, dim))
        self.time_embedding = nn.Sequential(nn.Linear(config.freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, dim * 6))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.head = Head(config)
        if config.model_type == "i2v":
            self.img_emb = ImageEmbedding(config.clip_dim, dim)

    def forward(
        self, x: Tensor, t: Tensor, context: Tensor, y: Tensor | None = None, clip_fea: Tensor | None = None,
        cache: StepCache | None = None, kept: dict | None = None,
    ) -> Tensor:  # fmt: skip
        """Flow of `x`.

        x: [batch, out_dim, frames, height, width] noisy latents; height and width multiples of the patch size.
        t: [batch] timesteps in 0..1000. context: [batch, tokens, text_dim], at most text_len tokens.
        y: [batch, in_dim - out_dim, frames, height, width] mask and image latents (i2v).
        clip_fea: [batch, image tokens, clip_dim] or None.
        cache: of this run; where it says so, the blocks are skipped and their last change is used again.
        kept: a dict that is given again at each step with the same context and clip_fea; it keeps their keys and values.
        -> [batch, out_dim, frames, height, width]
        """
        known = {} if kept is None else kept
        if "tokens" not in known:
            image = None if clip_fea is None else self.img_emb(clip_fea)
            known["tokens"] = self.embed_text(context), image
        context, image = known["tokens"]
        x = x if y is None else torch.cat([x, y], dim=1)
        grid = tuple(side // patch for side, patch in zip(x.shape[2:], self.config.patch_size))
        rotary = rotary_table(grid, self.config.dim // self.config.num_heads, x.device)
        time = self.time_embedding(sinusoidal_embedding(t, self.config.freq_dim).to(x.dtype))
        modulation = self.time_projection(time).unflatten(1, (6, -1)).float()

        def run(x: Tensor) -> Tensor:
            for index, block in enumerate(self.blocks):
                x = block(x, modulation, rotary, context, image, None if kept is None else kept.setdefault(index, {}))
            return x

        tokens = through(cache, lambda _: modulation, lambda: self.patches(x), run)
        return self.unpatchify(self.head(tokens, time.float()), grid)

    def patches(self, x: Tensor) -> Tensor:
        return self.patch_embedding(x).flatten(2).transpose(1, 2).contiguous()  # [batch, tokens, dim]

    def embed_text(self, context: Tensor) -> Tensor:
        """Zero-pads to text_len before the embedding: the padding is attended to, as in training."""
        return self.text_embedding(F.pad(context, (0, 0, 0, self.config.text_len - context.shape[1])))

    def unpatchify(self, x: Tensor, grid: tuple[int, int, int]) -> Tensor:
        t, h, w = self.config.patch_size
        x = x.reshape(x.shape[0], *grid, t, h, w, self.config.out_dim)
        x = x.permute(0, 7, 1, 4, 2, 5, 3, 6)  # [batch, channels, frames, t, height, h, width, w]
        return x.reshape(x.shape[0], x.shape[1], grid[0] * t, grid[1] * h, grid[2] * w)
