"""What the small ATI transformer learns, and how: its sizes, what conditions it, its loss. The loop is in learn.py.

Everything that conditions the model is made by the code that conditions it when it is used: motion_patch, umT5, CLIP.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ..models.common.schedulers import shifted
from ..models.wan import transformer as wan
from ..models.wan.config import WanConfig
from ..models.wan.motion_patch import motion_patch
from ..models.wan.system import plain_conditioning
from ..trajectory import Tracks
from ..trajectory.ati import normalised
from . import clips, encoders
from .learn import noise_and_text, spread_levels, tracks_of
from .precision import autocast


def sized(heads: int, ffn_dim: int) -> WanConfig:
    """Six blocks, with heads of 32 channels."""
    return WanConfig(
        dim=32 * heads, ffn_dim=ffn_dim, num_heads=heads, num_layers=6, text_dim=encoders.TEXT["d_model"], freq_dim=128,
        text_len=encoders.TEXT_LENGTH, clip_dim=encoders.IMAGE["hidden_size"],
    )  # fmt: skip


CONFIGS = {"small": sized(4, 512), "large": sized(6, 640)}  # 2.1 and 4.2 million parameters
DEFAULTS = {
    "width": 96, "height": 96, "frames": 17, "fps": 8.0, "steps": 5, "cfg": 1.0, "shift": 5.0, "scheduler": "euler",
    "temperature": 10.0, "topk": 2, "sizes": [list(size) for size in clips.SIZES],
}  # fmt: skip
LOWEST = 0.1  # share of the schedule, from its end, that is not learned: noise levels below 0.36


class Student(nn.Module):
    """The transformer and the image encoder, trained together."""

    def __init__(self, config: WanConfig):
        super().__init__()
        torch.manual_seed(3)
        self.transformer = wan.WanTransformer(config)
        self.image_encoder = encoders.image_encoder()
        for block in self.transformer.blocks:  # each block starts close to passing its input on
            for last in (block.self_attn.o, block.cross_attn.o, block.ffn[2]):
                last.weight.data *= 0.3
            block.modulation.data.zero_()  # gates start at one, shifts and scales at nothing
            block.modulation.data[:, [2, 5]] = 1
        for last in (self.transformer.time_projection[1], self.transformer.head.head):
            last.weight.data.zero_()
            last.bias.data.zero_()

    @property
    def blocks(self) -> nn.ModuleList:
        return self.transformer.blocks

    def forward(self, x, t, text, y, pictures):
        tokens = encoders.image_tokens(self.image_encoder, pictures)
        return self.transformer(x, t, text, y, tokens)


class ATI:
    """learn.System of ATI. texts: [n, TEXT_LENGTH, d_model], encoded prompts, of which every clip hears any; config: of
    its transformer."""

    name = "ati"
    stated: ClassVar[dict] = {"family": "wan", "variant": "i2v", "motion": "ati"}
    defaults: ClassVar[dict] = DEFAULTS
    plain = ("patch_embedding", "head.head", "position_embedding", "class_embedding")

    def __init__(self, texts: Tensor, config: WanConfig):
        self.texts, self.config = texts, config
        self.reader = encoders.image_encoder()  # which only says how pictures are brought to it

    def student(self) -> Student:
        return Student(self.config)

    def given(self, shard: dict) -> dict[str, Tensor]:
        """y: [n, 20, 5, h, w]; pictures: [n, 3, 64, 64]."""
        y = [condition(still, tracks) for still, tracks in zip(shard["still"], tracks_of(shard))]
        return {"y": torch.stack(y).half(), "pictures": encoders.preprocess(self.reader, shard["first"]).half()}

    def loss(self, student, x0: Tensor, weight: Tensor, given: dict, generator: torch.Generator) -> Tensor:
        """Weighted squared error of the clean latents at random noise levels of the schedule with the default shift,
        but for its lowest, whose errors are of noise and not of motion."""
        noise, text = noise_and_text(x0, self.texts, generator)
        sigma = shifted(LOWEST + (1 - LOWEST) * spread_levels(len(x0), generator), DEFAULTS["shift"])
        level = sigma.view(-1, 1, 1, 1, 1)
        with autocast(x0.device):
            flow = student((1 - level) * x0 + level * noise, sigma * 1000, text, **given).float()
        return ((level * (flow - (noise - x0))) ** 2 * weight).mean()


def condition(still: Tensor, tracks: Tracks | None) -> Tensor:
    """[20, 5, h, w]: exactly what WanVideoModel.encode_motion makes."""
    if tracks is None:
        return plain_conditioning(still)
    return motion_patch(
        normalised(tracks, *tracks.canvas), still, temperature=DEFAULTS["temperature"], topk=DEFAULTS["topk"]
    )
