"""How EasyAnimate's latents are normalised for the transformer. No modules, no files."""

from __future__ import annotations

from dataclasses import replace

from ..common.types import LatentFormat

SCALING = 0.7125  # scaling_factor of the released vae/config.json
CHANNELS = 16

# No linear preview is known for these latents: `rgb` is empty.
MAGVIT = LatentFormat((0.0,) * CHANNELS, (1 / SCALING,) * CHANNELS, ())


def latent_format(stated: dict) -> LatentFormat:
    """MAGVIT; a small model of our own states a linear preview as `latent_rgb`: a row of three a channel, and a
    bias."""
    rows = stated.get("latent_rgb")
    if not rows:
        return MAGVIT
    *factors, bias = (tuple(row) for row in rows)
    return replace(MAGVIT, rgb=tuple(factors), rgb_bias=bias)
