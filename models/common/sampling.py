"""One sampling loop for all families: noise in, latents out. It knows no model's inside, no widget and no file."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .errors import ModelError
from .schedulers import make_scheduler
from .types import Motion, TextConditioning

Callback = Callable[[int, int, Tensor], None]


def make_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard normal noise [1, *shape] from a CPU generator, so that a seed means the same on every device."""
    return torch.randn((1, *shape), generator=torch.Generator("cpu").manual_seed(seed))


@torch.no_grad()
def sample(
    model,
    text: TextConditioning,
    motion: Motion,
    *,
    steps: int,
    cfg: float,
    shift: float,
    scheduler: str,
    seed: int = 0,
    denoise: float = 1.0,
    latents: Tensor | None = None,
    noise: Tensor | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Normalised latents [1, channels, frames, h, w] of the video that follows `motion`.

    steps: evaluations of the model (twice as many where cfg is not 1). cfg: 1 leaves the negative prompt out. shift:
    of the noise schedule. denoise: below 1, `latents` (normalised) are kept in part: the schedule's last share is run.
    noise: used instead of that of `seed`. callback(step, steps, x0): after each step, with the estimate of the clean
    latents; what it raises ends the sampling. ModelError where the inputs do not belong together.
    """
    shape = model.latent_shape(motion.width, motion.height, motion.frames)
    model.check_inputs(text, motion)
    if not 0 < denoise <= 1:
        raise ModelError(f"denoise is {denoise}: it must be above 0 and at most 1.")
    if latents is None and denoise < 1:
        raise ModelError("denoise below 1 refines existing latents: connect them, or set denoise to 1.")
    if latents is not None and tuple(latents.shape[1:]) != shape:
        raise ModelError(f"The latents to refine are {list(latents.shape)}; this motion needs [1, {', '.join(map(str, shape))}].")
    if cfg != 1 and text.negative is None:
        raise ModelError(f"cfg is {cfg}, which needs a negative prompt; give one (it may be empty) or set cfg to 1.")

    device = model.device
    schedule = make_scheduler(scheduler, round(steps / denoise), shift)
    skipped = len(schedule.timesteps) - steps
    noise = make_noise(shape, seed) if noise is None else noise
    noise = noise.to(device, torch.float32)
    x = noise if latents is None else schedule.start(latents.to(device, torch.float32), noise, skipped)
    positive = text.positive.to(device)
    negative = None if cfg == 1 else text.negative.to(device)
    for done in range(steps):
        index = skipped + done
        t = schedule.timesteps[index].to(device).expand(x.shape[0])
        inputs = motion.at(index / len(schedule.timesteps))
        velocity = model.predict(x, t, positive, inputs).float()
        if negative is not None:
            unguided = model.predict(x, t, negative, inputs).float()
            velocity = unguided + cfg * (velocity - unguided)
        x0 = x - schedule.sigmas[index].to(device) * velocity
        x = schedule.step(velocity, x)
        if callback is not None:
            callback(done + 1, steps, x0)
    return x
