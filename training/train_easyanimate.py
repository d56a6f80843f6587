"""What the small EasyAnimate transformer learns, and how: its sizes, what conditions it, its loss. The loop is in
learn.py.

The Control variant: the spots of the tracks as a control video and the start image as the reference, both encoded by
the small VAE of EasyAnimate, as they are when the model is used.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..models.common.schedulers import shifted
from ..models.easyanimate import transformer as easyanimate
from ..models.easyanimate.config import EasyAnimateConfig
from ..models.easyanimate.control import heat_video
from ..models.wan.transformer import WanTransformer
from . import clips, encoders, pool
from .learn import noise_and_text, spread_levels, tracks_of
from .precision import autocast
from .start import POINTS, Target, take_over

CHANNELS = 16
CONFIG = EasyAnimateConfig(
    in_channels=3 * CHANNELS, num_attention_heads=6, attention_head_dim=32, num_layers=6, mmdit_layers=1,
    text_embed_dim=encoders.QWEN["hidden_size"], time_embed_dim=32, text_len=encoders.LONG,
)  # fmt: skip
DEFAULTS = {
    "width": 96, "height": 96, "frames": 17, "fps": 8.0, "steps": 5, "cfg": 1.0, "shift": 5.0,
    "scheduler": "flow_euler", "sizes": [list(size) for size in clips.SIZES],
}  # fmt: skip
STEP = 5.0  # between two of six rows of tokens, which lie in thirty rows of positions: transformer.py:BASE


class Student(nn.Module):
    """The transformer; source: ATI's, whose width it has and whose weights it begins with where both have the same."""

    def __init__(self, source: WanTransformer | None = None):
        super().__init__()
        torch.manual_seed(6)
        heads = source.config.num_heads if source else CONFIG.num_attention_heads
        self.transformer = easyanimate.EasyAnimateTransformer(replace(CONFIG, num_attention_heads=heads))
        for block in self.blocks:  # each block starts close to passing its input on
            for last in (block.attn1.to_out[0], block.ff.net[2]):
                last.weight.data *= 0.3
            for norm in (block.norm1, block.norm2):  # gates start at one, shifts and scales at nothing
                norm.linear.weight.data.zero_()
                norm.linear.bias.data.zero_()
                norm.linear.bias.data.view(6, -1)[[2, 5]] = 1
        self.transformer.proj_out.weight.data.zero_()
        self.transformer.proj_out.bias.data.zero_()
        if source is not None:
            self.begin_with(source)

    @property
    def blocks(self) -> nn.ModuleList:
        return self.transformer.transformer_blocks

    def begin_with(self, source: WanTransformer) -> None:
        whole = self.transformer
        target = Target(
            self.blocks, whole.proj, 2 * CHANNELS, whole.time_embedding, whole.norm_out.linear, whole.proj_out,
            CONFIG.attention_head_dim, STEP,
        )  # fmt: skip
        levels = torch.linspace(0.001, 1, POINTS)
        take_over(source, target, levels * 1000, levels)

    def forward(self, x, t, text, control, reference):
        return self.transformer(x, t, text, torch.cat([control, reference], dim=1))


class EasyAnimate:
    """learn.System of EasyAnimate. texts: [n, LONG, hidden_size], encoded prompts; vae: the EasyAnimateVideoVAE that
    encodes control videos and pictures; source: ATI's transformer, which its own begins with."""

    name = "easyanimate"
    stated: ClassVar[dict] = {"family": "easyanimate", "variant": "control"}
    defaults: ClassVar[dict] = DEFAULTS
    plain = ("transformer.proj.", "proj_out", "text_proj")

    def __init__(self, texts: Tensor, vae, source: WanTransformer | None = None):
        self.texts, self.vae, self.source = texts, vae, source

    def student(self) -> Student:
        return Student(self.source)

    def given(self, shard: dict) -> dict[str, Tensor]:
        """control, reference: [n, 16, 5, h, w]; both as EasyAnimateModel.encode_motion makes them."""
        shape = shard["latents"].shape
        control, reference = torch.zeros(shape), torch.zeros(shape)
        reference[:, :, :1] = self.encode(pool.to_tensor(shard["first"].numpy()[:, None]))
        tracks = list(tracks_of(shard))
        if all(tracks):
            spots = torch.stack([heat_video(one, *one.canvas) for one in tracks])
            control = self.encode(spots[:, None].expand(-1, 3, -1, -1, -1).float() / 127.5 - 1)
        return {"control": control.half(), "reference": reference.half()}

    def encode(self, pixels: Tensor) -> Tensor:
        """Normalised latents. Each clip as a whole: the same numbers as in chunks, in half the time."""
        return pool.encoded(self.vae, pixels, pixels.shape[2]).cpu()

    def loss(self, student, x0: Tensor, weight: Tensor, given: dict, generator: torch.Generator) -> Tensor:
        """Weighted squared error of the flow at random noise levels of the schedule with the default shift."""
        noise, text = noise_and_text(x0, self.texts, generator)
        sigma = shifted(spread_levels(len(x0), generator), DEFAULTS["shift"])
        level = sigma.view(-1, 1, 1, 1, 1)
        with autocast(x0.device):
            flow = student((1 - level) * x0 + level * noise, sigma * 1000, text, **given).float()
        return ((flow - (noise - x0)) ** 2 * weight).mean()
