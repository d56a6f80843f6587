"""How CogVideoX latents are drawn, scaled and previewed, and what the transformer is given of pictures. No modules."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..common.types import LatentFormat

SCALING = 0.7  # scaling_factor in the vae/config.json of CogVideoX-5B
# A linear preview of normalised latents: kijai/ComfyUI-CogVideoXWrapper pipeline_cogvideox.py:CogVideoXLatentFormat.
RGB = (
    (0.0320, 0.0409, 0.0016), (0.0055, 0.0052, -0.0056), (0.0012, -0.0161, 0.0250), (0.0176, 0.0037, -0.0006),
    (0.0004, 0.0061, 0.0008), (-0.0105, -0.0032, -0.0089), (-0.0001, 0.0102, -0.0001), (0.0208, -0.0017, 0.0067),
    (0.0055, 0.0097, 0.0019), (0.0121, 0.0247, 0.0372), (0.0010, 0.0198, 0.0099), (0.0068, -0.0011, -0.0070),
    (0.0004, 0.0054, -0.0185), (-0.0090, -0.0113, 0.0042), (0.0025, 0.0252, -0.0006), (-0.0111, 0.0018, 0.0279),
)  # fmt: skip
RGB_BIAS = (-0.023, 0.0, -0.017)


def latent_format(stated: dict, channels: int = 16, scaling: float = SCALING) -> LatentFormat:
    """Normalised latents are plain ones times `scaling`. stated: a header's config; a small model of our own has its
    own linear preview there, `latent_rgb`: a row of three a channel, and a bias."""
    rows = stated.get("latent_rgb") or ((*RGB, RGB_BIAS) if channels == len(RGB) else ())
    rgb, bias = tuple(tuple(row) for row in rows[:-1]), tuple(rows[-1]) if rows else (0.0, 0.0, 0.0)
    return LatentFormat((0.0,) * channels, (1 / scaling,) * channels, rgb, bias)


def drawn(moments: Tensor, noise: Tensor) -> Tensor:
    """Plain latents from the mean and log variance [batch, 2 * channels, frames, h, w] that the VAE gives.

    The models were trained on drawn latents, not on means: huggingface/diffusers autoencoders/vae.py:
    DiagonalGaussianDistribution."""
    mean, logvar = moments.chunk(2, dim=1)
    return mean + torch.exp(0.5 * logvar.clamp(-30.0, 20.0)) * noise.to(mean)


def image_conditioning(latents: Tensor, frames: int, patch: int = 1) -> Tensor:
    """The start image as the transformer sees it: its latents [batch, channels, 1, h, w], then zeros up to `frames`
    latent frames. patch: frames a token; where it does not divide them, the image stands twice (or more) at the
    beginning.

    Source: alibaba/Tora diffusers-version/tora/i2v_pipeline.py:ToraImageToVideoPipeline.prepare_latents.
    """
    padded = F.pad(latents, (0, 0, 0, 0, 0, frames - 1))
    return torch.cat([padded[:, :, : frames % patch], padded], dim=2)
