"""How CogVideoX latents are drawn, scaled and previewed. No modules, no files."""

from __future__ import annotations

import torch
from torch import Tensor

from ..common.types import LatentFormat


def drawn(moments: Tensor, noise: Tensor) -> Tensor:
    """Plain latents from the mean and log variance [batch, 2 * channels, frames, h, w] that the VAE gives.

    The models were trained on drawn latents, not on means: huggingface/diffusers autoencoders/vae.py:
    DiagonalGaussianDistribution."""
    mean, logvar = moments.chunk(2, dim=1)
    return mean + torch.exp(0.5 * logvar.clamp(-30.0, 20.0)) * noise.to(mean)
