"""One sampling loop for all families: noise in, latents out. It knows no model's inside, no widget and no file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from .errors import ModelError
from .guidance import Guidance
from .schedulers import make_scheduler
from .types import Motion, TextConditioning

Callback = Callable[[int, int, Tensor], None]


def make_noise(shape: tuple[int, ...], seed: int) -> Iterator[Tensor]:
    """Standard normal noise [1, *shape] again and again, from a CPU generator, so that a seed means the same on every
    device."""
    generator = torch.Generator("cpu").manual_seed(seed)
    while True:
        yield torch.randn((1, *shape), generator=generator)


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
    noise: Tensor | Iterable[Tensor] | None = None,
    callback: Callback | None = None,
    total_steps: int | None = None,
    cfg_rescale: float = 0.0,
    step_cache: float = 0.0,
) -> Tensor:
    """Normalised latents [1, channels, frames, h, w] of the video that follows `motion`.

    steps: evaluations of the model (twice as many where cfg is not 1). cfg: 1 leaves the negative prompt out. shift:
    of the noise schedule. denoise: below 1, `latents` (normalised; by default those of the motion) are kept in part:
    the schedule's last share is run. noise: used instead of that of `seed`: the start, or the start and then what the
    solver draws. callback(step, steps, x0): after each step, with the estimate of the clean latents; what it raises
    ends the sampling. total_steps: length of the schedule, the last
    `steps` of which are run, in place of what denoise makes of them. cfg_rescale: 0..1, how far guidance keeps the
    contrast of the prompt's own prediction. step_cache: TeaCache's threshold up to which steps are skipped; 0: what the
    model's options say. ModelError where the inputs do not belong together.
    """
    shape = model.latent_shape(motion.width, motion.height, motion.frames)
    model.check_inputs(text, motion)
    if not 0 < denoise <= 1:
        raise ModelError(f"denoise is {denoise}: it must be above 0 and at most 1.")
    total = round(steps / denoise) if total_steps is None else total_steps
    if total < steps:
        raise ModelError(f"{steps} steps cannot be run of a schedule of {total}.")
    if latents is None and (denoise < 1 or total > steps):
        latents = motion.latents
        if latents is None:
            raise ModelError("denoise below 1 refines existing latents: connect them, or set denoise to 1.")
    if latents is not None and tuple(latents.shape[1:]) != shape:
        raise ModelError(
            f"The latents to refine are {list(latents.shape)}; this motion needs [1, {', '.join(map(str, shape))}]."
        )
    if scheduler not in model.schedulers:
        raise ModelError(f"scheduler is '{scheduler}'; {model.path.name} is run with {' or '.join(model.schedulers)}.")

    device = model.device
    draws = make_noise(shape, seed) if noise is None else iter([noise] if isinstance(noise, Tensor) else noise)

    def draw() -> Tensor:
        return next(draws).to(device, torch.float32)

    schedule = make_scheduler(scheduler, total, shift)
    skipped = total - steps
    x = draw() if latents is None else schedule.start(latents.to(device, torch.float32), draw(), skipped)
    predict = Guidance(model, text, motion, cfg, steps, step_cache)
    with model.running():
        for done in range(steps):
            index = skipped + done
            t = schedule.timesteps[index].to(device).expand(x.shape[0])
            prediction, *unguided = predict(x, t, motion.at(index / len(schedule.timesteps)))
            if unguided:
                guided = unguided[0] + schedule.guidance(cfg) * (prediction - unguided[0])
                prediction = rescaled(guided, prediction, cfg_rescale)
            x0 = schedule.estimate(prediction, x)
            x = schedule.step(prediction, x, draw)
            if callback is not None:
                callback(done + 1, steps, x0)
    predict.report()
    kept = (motion.frames - 1) // model.temporal + 1
    return x[:, :, x.shape[2] - kept :]  # some models make more latent frames than the clip has, the first ones


def rescaled(guided: Tensor, prompted: Tensor, share: float) -> Tensor:
    """`guided` with its standard deviation brought back to that of `prompted`, by `share` 0..1: Lin et al., arXiv
    2305.08891, section 3.4."""
    if not share:
        return guided
    dims = tuple(range(1, guided.ndim))
    ratio = prompted.std(dims, keepdim=True) / guided.std(dims, keepdim=True)
    return guided * (share * ratio + (1 - share))
