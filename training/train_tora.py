"""What the small Tora transformer learns, and how: its sizes, what conditions it, its loss. The loop is in learn.py.

Image-to-video on CogVideoX's architecture: the first frame's latents, and the flow video of the tracks, both encoded by
the small VAE of CogVideoX, as they are when the model is used.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..models.cogvideox import transformer as cogvideox
from ..models.cogvideox.config import CogVideoXConfig
from ..models.cogvideox.latents import image_conditioning
from ..models.common.diffusion import signal_levels
from ..models.common.schedule import TRAIN_STEPS
from ..models.wan.transformer import WanTransformer
from ..trajectory.flow import flow_video
from . import clips, encoders, pool
from .learn import noise_and_text, spread_levels, tracks_of
from .precision import autocast
from .start import POINTS, Target, take_over

CONFIG = CogVideoXConfig(
    num_attention_heads=6, attention_head_dim=32, in_channels=32, time_embed_dim=32,
    text_embed_dim=encoders.TEXT["d_model"], num_layers=6, sample_width=12, sample_height=12, sample_frames=17,
    max_text_seq_length=encoders.SHORT, traj_extractor_channels=48,
)  # fmt: skip
DEFAULTS = {
    "width": 96, "height": 96, "frames": 17, "fps": 8.0, "steps": 5, "cfg": 1.0, "shift": 6.0, "scheduler": "ddim",
    "sizes": [list(size) for size in clips.SIZES],
}  # fmt: skip


class Student(nn.Module):
    """The transformer; source: ATI's, whose width it has and whose weights it begins with where both have the same."""

    def __init__(self, source: WanTransformer | None = None):
        super().__init__()
        torch.manual_seed(4)
        heads = source.config.num_heads if source else CONFIG.num_attention_heads
        self.transformer = cogvideox.CogVideoXTransformer(replace(CONFIG, num_attention_heads=heads))
        for block in self.transformer.transformer_blocks:  # each block starts close to passing its input on
            for last in (block.attn1.to_out[0], block.ff.net[2]):
                last.weight.data *= 0.3
            for norm in (block.norm1, block.norm2):  # gates start at one, shifts and scales at nothing
                norm.linear.weight.data.zero_()
                norm.linear.bias.data.zero_()
                norm.linear.bias.data.view(6, -1)[[2, 5]] = 1
        self.transformer.proj_out.weight.data.zero_()
        self.transformer.proj_out.bias.data.zero_()
        self.transformer.traj_extractor.eval()  # its batch norms only scale and shift
        if source is not None:
            self.begin_with(source)

    def begin_with(self, source: WanTransformer) -> None:
        whole = self.transformer
        target = Target(
            self.blocks, whole.patch_embed.proj, CONFIG.out_channels, whole.time_embedding, whole.norm_out.linear,
            whole.proj_out, CONFIG.attention_head_dim, step=1.0,
        )  # fmt: skip
        t = torch.linspace(0, TRAIN_STEPS - 1, POINTS).long()
        a = torch.tensor(signal_levels(DEFAULTS["shift"]))[t].float()
        take_over(source, target, t, (1 - a).sqrt() / (a.sqrt() + (1 - a).sqrt()))

    @property
    def blocks(self) -> nn.ModuleList:
        return self.transformer.transformer_blocks

    def forward(self, x, t, text, image, flow=None):
        return self.transformer(x, t, text, image, flow)


class Tora:
    """learn.System of Tora. texts: [n, SHORT, d_model], encoded prompts; vae: the CogVideoXVideoVAE that encodes the
    flow videos; source: ATI's transformer, which its own begins with."""

    name = "tora"
    stated: ClassVar[dict] = {"family": "cogvideox", "variant": "tora i2v"}
    defaults: ClassVar[dict] = DEFAULTS
    plain = ("patch_embed", "proj_out", "temporal")

    def __init__(self, texts: Tensor, vae, source: WanTransformer | None = None):
        self.texts, self.vae, self.source = texts, vae, source
        self.levels = torch.tensor(signal_levels(DEFAULTS["shift"])).float().to(texts.device)

    def student(self) -> Student:
        return Student(self.source)

    def given(self, shard: dict) -> dict[str, Tensor]:
        """image: [n, 16, 5, h, w]; flow: the same, where there are tracks."""
        image = self.encode(pool.to_tensor(shard["first"].numpy()[:, None]))
        given = {"image": image_conditioning(image, shard["latents"].shape[2]).half()}
        tracks = list(tracks_of(shard))
        if all(tracks):
            flows = [flow_video(one, *one.canvas, device=self.vae.device) for one in tracks]
            given["flow"] = self.encode(torch.cat(flows)).half()
        return given

    def encode(self, pixels: Tensor) -> Tensor:
        """Normalised latents, as CogVideoXModel.encode_motion makes them but for the next to no noise."""
        return pool.encoded(self.vae, pixels).cpu()

    def loss(self, student, x0: Tensor, weight: Tensor, given: dict, generator: torch.Generator) -> Tensor:
        """Weighted squared error of v at random timesteps of the schedule with the default shift."""
        noise, text = noise_and_text(x0, self.texts, generator)
        t = (spread_levels(len(x0), generator) * TRAIN_STEPS).long()
        a = self.levels[t].view(-1, 1, 1, 1, 1)
        with autocast(x0.device):
            v = student(a.sqrt() * x0 + (1 - a).sqrt() * noise, t, text, **given).float()
        return ((v - (a.sqrt() * noise - (1 - a).sqrt() * x0)) ** 2 * weight).mean()
