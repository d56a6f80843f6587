"""The decoder node: latents in, frames out, in tiles where memory is short."""

from __future__ import annotations

import torch
from torch import Tensor

from ..models import ModelError
from .coding import coded
from .host import host
from .inputs import InputError, integer, socket


class TrajectoryDecode:
    CATEGORY = "Trajectory/sampling"
    DESCRIPTION = "Turns the latents of a video into its frames with the VAE of the model's system."
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("frames",)
    OUTPUT_TOOLTIPS = ("The frames of the video.",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "vae": socket("TRAJECTORY_VAE", "The VAE of the model that made the latents."),
                "latent": socket("LATENT", "The latents of a video, from Trajectory Sampler."),
                "tile": integer(
                    0, 0, 4096,
                    "Decodes in tiles of this side in pixels: less memory, a little slower. 0: whole frames, "
                    "and tiles only if they do not fit.", step=32,
                ),
            },
        }  # fmt: skip

    def decode(self, vae, latent: dict, tile: int = 0):
        samples = latent.get("samples") if isinstance(latent, dict) else None
        if not isinstance(samples, Tensor) or samples.ndim != 5:
            raise InputError("latent: these are not the latents of a video ([1, channels, frames, h, w]).")
        latent_frames, height, width = samples.shape[2:]
        size = width * vae.spatial, height * vae.spatial, (latent_frames - 1) * vae.temporal + 1
        try:
            latents = vae.latent_format.from_plain(samples.float())
            with vae.watched(host.check_cancelled):
                videos = [
                    coded(lambda tile, one=one: vae.decode(one, tile=tile).cpu(), vae, "decode", size, tile)
                    for one in latents.split(1)
                ]  # fmt: skip
        except ModelError as error:
            raise InputError(f"latent: {error}") from error
        except RuntimeError as error:
            if samples.shape[1] == vae.channels:
                raise
            raise InputError(
                f"latent: {samples.shape[1]} channels, but {vae.path.name} decodes {vae.channels}."
            ) from error
        frames = torch.cat(videos).movedim(1, -1).flatten(0, 1)  # [batch * frames, height, width, 3]
        return (frames.div_(2).add_(0.5).clamp_(0, 1),)
