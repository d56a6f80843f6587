"""Solvers for diffusion models that predict v (x = sqrt(a) * clean + sqrt(1 - a) * noise; v = sqrt(a) * noise -
sqrt(1 - a) * clean), as CogVideoX uses them: DDIM, and DPM-Solver++ (2M) with noise. They know no model and no
generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .errors import ModelError
from .schedule import TRAIN_STEPS, Schedule

BETA_START, BETA_END = 0.00085, 0.012
EXPONENT = 5.0  # of the dynamic guidance


@lru_cache(maxsize=8)
def signal_levels(shift: float) -> tuple[float, ...]:
    """a of each training timestep, from near 1 down to exactly 0: betas evenly spaced in their square roots, the
    signal-to-noise ratio divided by `shift`, rescaled so that the last timestep is pure noise (arXiv 2305.08891,
    algorithm 1).

    In float64, as huggingface/diffusers schedulers/scheduling_dpm_cogvideox.py:CogVideoXDPMScheduler.__init__.
    """
    betas = torch.linspace(BETA_START**0.5, BETA_END**0.5, TRAIN_STEPS, dtype=torch.float64) ** 2
    level = torch.cumprod(1 - betas, dim=0)
    root = (level / (shift + (1 - shift) * level)).sqrt()
    root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    return tuple((root**2).tolist())


class DDIM(Schedule):
    """Deterministic: Song et al., arXiv 2010.02502, as scheduling_ddim_cogvideox.py:CogVideoXDDIMScheduler.

    The level after a step is that of `timestep - 1000 // steps`, which is the next timestep only where `steps` divides
    1000.
    """

    def __init__(self, steps: int, shift: float):
        super().__init__(steps, shift)
        if steps > TRAIN_STEPS:
            raise ModelError(f"steps is {steps}: at most {TRAIN_STEPS} are possible with this scheduler.")
        # numpy rounds halves to even, which the release's timesteps depend on.
        self.timesteps = torch.from_numpy(
            np.round(np.arange(TRAIN_STEPS, 0, -TRAIN_STEPS / steps)).astype(np.int64) - 1
        )
        self.levels = signal_levels(float(shift))

    def level(self, timestep: int) -> float:
        """a at a timestep; before the first there is no noise."""
        return self.levels[timestep] if timestep >= 0 else 1.0

    @property
    def timestep(self) -> int:
        return self.timesteps[self.index].item()

    @property
    def next_timestep(self) -> int:
        return self.timestep - TRAIN_STEPS // len(self.timesteps)

    def mixed(self, latents: Tensor, noise: Tensor) -> Tensor:
        a = self.level(self.timestep)
        return math.sqrt(a) * latents + math.sqrt(1 - a) * noise

    def estimate(self, prediction: Tensor, x: Tensor) -> Tensor:
        a = self.level(self.timestep)
        return math.sqrt(a) * x - math.sqrt(1 - a) * prediction

    def advance(self, prediction: Tensor, x: Tensor, draw: Callable[[], Tensor] | None) -> Tensor:
        a, target = self.level(self.timestep), self.level(self.next_timestep)
        keep = math.sqrt((1 - target) / (1 - a))
        return keep * x + (math.sqrt(target) - math.sqrt(a) * keep) * self.estimate(prediction, x)


class SDEDPMPlusPlus(DDIM):
    """DPM-Solver++(2M) with noise, Lu et al., arXiv 2211.01095, and CogVideoX's dynamic guidance: what the 5B models
    are run with (scheduling_dpm_cogvideox.py:CogVideoXDPMScheduler, alibaba/Tora diffusers-version/inference.py)."""

    def __init__(self, steps: int, shift: float):
        super().__init__(steps, shift)
        self.clean: Tensor | None = None

    def guidance(self, cfg: float) -> float:
        """Grows from 1 to 1 + cfg in the last steps; before, where the training timestep exceeds the number of steps,
        it jumps about between them, and so it does in every release:
        sgm/modules/diffusionmodules/guiders.py:DynamicCFG. In float64 and in this order, since the argument reaches
        1e12."""
        steps = len(self.timesteps)
        return 1 + cfg * ((1 - math.cos(math.pi * ((steps - self.timestep) / steps) ** EXPONENT)) / 2)

    def half_log_snr(self, timestep: int) -> float:
        """lambda = log(sqrt(a / (1 - a))), infinite at both ends."""
        a = self.level(timestep)
        if a in (0.0, 1.0):
            return math.inf if a == 1 else -math.inf
        return math.log(math.sqrt(a / (1 - a)))

    def advance(self, prediction: Tensor, x: Tensor, draw: Callable[[], Tensor] | None) -> Tensor:
        if draw is None:
            raise ModelError("This solver adds noise in every step: it needs a source of noise.")
        now, after = self.timestep, self.next_timestep
        target, h = self.level(after), self.half_log_snr(after) - self.half_log_snr(now)
        clean = self.estimate(prediction, x)
        before, self.clean = self.clean, clean
        noise = draw()
        if before is not None and after >= 0:
            noise = draw()  # the release draws once for the first order and again for the second
            last = self.timesteps[self.index - 1].item()
            ratio = (self.half_log_snr(now) - self.half_log_snr(last)) / h
            clean = (1 + 1 / (2 * ratio)) * clean - 1 / (2 * ratio) * before
        x_factor = math.sqrt((1 - target) / (1 - self.level(now))) * math.exp(-h)
        noise_factor = math.sqrt(1 - target) * math.sqrt(-math.expm1(-2 * h))
        return x_factor * x - math.expm1(-2 * h) * math.sqrt(target) * clean + noise_factor * noise
