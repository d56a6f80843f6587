"""The sampler node: noise, text and motion in, latents out, with a live preview. The loop itself is `models.sample`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..models import SCHEDULERS, ModelError, sample
from .host import host
from .inputs import InputError, choice, integer, number, socket
from .preview import previewer


class TrajectorySampler:
    CATEGORY = "Trajectory/sampling"
    DESCRIPTION = (
        "Makes the video, as latents. Where a number is 0, what suits the model is used, so that the model can be "
        "swapped without touching this node."
    )
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("For Trajectory Decode; ComfyUI's VAE Decode works too on those of Wan.",)
    FUNCTION = "sample"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "model": socket("TRAJECTORY_MODEL", "The model that the motion was encoded for."),
                "text": socket("TRAJECTORY_TEXT", "The encoded prompts."),
                "motion": socket("TRAJECTORY_MOTION", "From Trajectory Encode."),
                "steps": integer(
                    0, 0, 1000,
                    "Sampling steps: more are slower and cleaner. 0: as suits the model (40 for ATI 14B).",
                ),
                "cfg": number(
                    0.0, 0.0, 30.0, 0.1,
                    "Guidance: how closely the prompt is followed. 1 leaves the negative prompt out and is "
                    "twice as fast. 0: as suits the model (5 for ATI 14B).",
                ),
                "shift": number(
                    0.0, 0.0, 100.0, 0.1,
                    "Of the noise schedule: higher spends more steps on the large motion. 0: as suits the "
                    "model.",
                ),
                "scheduler": choice(
                    ["auto", *SCHEDULERS],
                    "The solver. auto: as suits the model (unipc for ATI and Wan, dpm_sde for Tora).",
                ),
                "seed": integer(
                    0, 0, 2**64 - 1,
                    "Chooses the noise. The same seed gives the same video on every device.",
                    control_after_generate=True,
                ),
                "denoise": number(
                    1.0, 0.01, 1.0, 0.01,
                    "Below 1 the connected latent is kept in part: the lower, the more of it. 1 starts from "
                    "noise.",
                ),
            },
            "optional": {
                "latent": socket(
                    "LATENT",
                    "A video to start from, where denoise is below 1. Of the motion's size. Not needed where "
                    "Trajectory Encode was given a video.",
                ),
                "cfg_rescale": number(
                    0.0, 0.0, 1.0, 0.05,
                    "How far strong guidance is kept from washing out or burning in. 0: off; 0.7 is usual.",
                ),
                "step_cache": number(
                    0.0, 0.0, 1.0, 0.005,
                    "Leaves out steps that hardly change anything (TeaCache, with the published figures of the "
                    "released "
                    "models): up to this change. 0: none, or what Trajectory Speed Options say. 0.1 is usual.",
                ),
                "batch": integer(
                    1, 1, 64,
                    "How many videos are made, of each connected latent too. They come out as with seed, seed + 1, … "
                    "alone, one after the other.",
                ),
            },
        }  # fmt: skip

    def sample(
        self, model, text, motion, steps: int = 0, cfg: float = 0.0, shift: float = 0.0, scheduler: str = "auto",
        seed: int = 0, denoise: float = 1.0, latent: dict | None = None, cfg_rescale: float = 0.0,
        step_cache: float = 0.0, batch: int = 1,
    ):  # fmt: skip
        defaults = model.defaults
        steps, cfg, shift = steps or defaults["steps"], cfg or defaults["cfg"], shift or defaults["shift"]
        scheduler = defaults["scheduler"] if scheduler == "auto" else scheduler
        if denoise < 1 and latent is None and motion.latents is None:
            raise InputError(
                "denoise, latent: a denoise below 1 refines a video that is there already. Connect its latents to "
                "latent, or set denoise to 1."
            )
        starts = [None] if latent is None or denoise == 1 else normalised(latent, model).split(1)
        starts = [start for start in starts for _ in range(batch)]
        try:
            model.check_inputs(text, motion)  # before 14B weights are loaded
        except ModelError as error:
            raise InputError(f"text or motion: {error}") from error
        doing = f"sampling {motion.frames} frames of {motion.width}x{motion.height}"
        host.ready(model, working_bytes(model, motion, step_cache), doing)
        look, videos = previewer(model), []
        try:
            with host.progress(steps * len(starts), "sampling") as progress, model.watched(host.check_cancelled):
                for index, start in enumerate(starts):

                    def report(step: int, steps: int, x0: Tensor) -> None:
                        host.check_cancelled()
                        progress.update(steps * len(videos) + step, look(x0) if progress.shows else None)

                    videos.append(sample(
                        model, text, motion, steps=steps, cfg=cfg, shift=shift, scheduler=scheduler,
                        seed=(seed + index) % 2**64, denoise=denoise, latents=start, callback=report,
                        cfg_rescale=cfg_rescale, step_cache=step_cache,
                    ))  # fmt: skip
        except ModelError as error:
            raise InputError(f"text, motion or latent: {error}") from error
        finally:
            host.free()
        return ({"samples": model.latent_format.to_plain(torch.cat(videos).float()).cpu()},)


def normalised(latent: dict, model) -> Tensor:
    samples = latent.get("samples") if isinstance(latent, dict) else None
    channels = len(model.latent_format.mean)
    if not isinstance(samples, Tensor) or samples.ndim != 5 or samples.shape[1] != channels:
        found = list(samples.shape) if isinstance(samples, Tensor) else type(samples).__name__
        raise InputError(f"latent: the latents of a video are [videos, {channels}, frames, h, w]; these are {found}.")
    return model.latent_format.from_plain(samples.float())


def working_bytes(model, motion, step_cache: float = 0.0) -> int:
    """About what one step needs beside the weights, as `models.predict_memory` tells for the large models at their usual
    sizes: 5 to 8 activations of the model's width a token, for each half of the guidance that is computed at once, 3 to
    5 that TeaCache keeps, and two weights, converted. step_cache: TeaCache's threshold, if not that of the options."""
    kept = 6 if step_cache or model.options.step_cache == "teacache" else 0
    halves = 2 if model.options.guidance == "batched" else 1
    _, frames, height, width = model.latent_shape(motion.width, motion.height, motion.frames)
    largest = max(layer.weight.numel() for layer in model.module.modules() if isinstance(layer, nn.Linear))
    return ((8 * halves + kept) * (frames * height * width // 4) * model.config.dim + 2 * largest) * model.dtype.itemsize
