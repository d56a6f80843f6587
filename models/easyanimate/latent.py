"""How EasyAnimate's latents are normalised for the transformer. No modules, no files."""

from __future__ import annotations

from ..common.types import LatentFormat

SCALING = 0.7125  # scaling_factor of the released vae/config.json
CHANNELS = 16

# No linear preview is known for these latents: `rgb` is empty.
MAGVIT = LatentFormat((0.0,) * CHANNELS, (1 / SCALING,) * CHANNELS, ())
