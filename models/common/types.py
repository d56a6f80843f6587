"""The values that travel between the steps of a generation: text, motion, latents. Data, and no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class TextConditioning:
    """Encoded prompts, [batch, tokens, dim] each; `negative` may be absent where guidance is not used. encoder: what
    encoded them, for errors. masked: whether the words were kept from seeing the padding behind them."""

    positive: Tensor
    negative: Tensor | None = None
    encoder: str = "another encoder"
    masked: bool = False


@dataclass(frozen=True)
class Motion:
    """What one model is given of tracks and start image, besides noise and text.

    inputs: arguments of the transformer while the motion acts; plain: the same without motion, for the steps before
    `start` and from `end` on (fractions of the schedule). shown: [frames, height, width, 3] in 0..1, the picture of it.
    latents: normalised, of a video that sampling with denoise below 1 starts from. model: file name of the model that
    it was made for, for errors.
    """

    family: str
    width: int
    height: int
    frames: int
    inputs: Mapping[str, Tensor]
    plain: Mapping[str, Tensor]
    start: float = 0.0
    end: float = 1.0
    shown: Tensor | None = field(default=None, repr=False)
    latents: Tensor | None = field(default=None, repr=False)
    model: str = "another model"

    def at(self, fraction: float) -> Mapping[str, Tensor]:
        """The transformer's arguments at a fraction of the schedule, 0 = pure noise."""
        return self.inputs if self.start <= fraction < self.end or self.end == 1.0 == fraction else self.plain


@lru_cache(maxsize=32)
def a_channel(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device).view(-1, 1, 1, 1)


@dataclass(frozen=True)
class LatentFormat:
    """Between plain latents (what a VAE gives, what ComfyUI's LATENT holds) and normalised ones (what is sampled).

    mean, std: a value a channel. rgb: a row of three a channel, rgb_bias: three; a linear picture in -1..1 of
    normalised latents. tiny_decoder: how the file name of a tiny decoder begins that can show them.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    rgb: tuple[tuple[float, float, float], ...]
    rgb_bias: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tiny_decoder: str | None = None

    def statistics(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(a_channel(values, latents.dtype, latents.device) for values in (self.mean, self.std))

    def from_plain(self, latents: Tensor) -> Tensor:
        """[batch, channels, frames, h, w], plain -> normalised."""
        mean, std = self.statistics(latents)
        return (latents - mean) / std

    def to_plain(self, latents: Tensor) -> Tensor:
        """[batch, channels, frames, h, w], normalised -> plain."""
        mean, std = self.statistics(latents)
        return latents * std + mean

    def picture(self, latents: Tensor) -> Tensor:
        """[channels, frames, h, w] normalised -> [frames, h, w, 3] in 0..1: a rough preview without the VAE."""
        factors = torch.tensor(self.rgb, dtype=torch.float32, device=latents.device)
        bias = torch.tensor(self.rgb_bias, dtype=torch.float32, device=latents.device)
        return ((torch.einsum("cfhw,cr->fhwr", latents.float(), factors) + bias) / 2 + 0.5).clamp(0, 1)
