"""What is seen of a video while it is sampled: its middle frame, roughly from the latents, or by a tiny decoder."""

from __future__ import annotations

import logging
from collections.abc import Callable

from torch import Tensor

from ..models import CheckpointError
from ..models.common.tiny_decoder import load_tiny_decoder
from .host import host

log = logging.getLogger(__name__)

CONTEXT = 2  # latent frames before the middle that the tiny decoder is shown too, since it remembers


def previewer(model) -> Callable[[Tensor], Tensor | None]:
    """A function from normalised latents [1, channels, frames, h, w] to a picture of the middle frame [height, width,
    3] in 0..1; None where no way is known to look at them without the VAE.

    A tiny decoder is used where the user has its file in ComfyUI's folder vae_approx.
    """
    latent_format = model.latent_format
    file = latent_format.tiny_decoder and host.tiny_decoder(latent_format.tiny_decoder)
    if file:
        try:
            tiny = load_tiny_decoder(file, model.device)
        except CheckpointError as error:
            log.warning("The preview is a rough one: %s", error)
        else:
            return lambda x0: tiny.frame(x0[0, :, max(0, middle(x0) - CONTEXT) : middle(x0) + 1])
    if not latent_format.rgb:
        return lambda x0: None
    return lambda x0: latent_format.picture(x0[0, :, middle(x0) : middle(x0) + 1])[0]


def middle(x0: Tensor) -> int:
    return x0.shape[2] // 2
