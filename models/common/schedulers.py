"""Solvers for flow models (x = (1 - sigma) * clean + sigma * noise, predicted: noise - clean): UniPC, DPM++ 2M, Euler;
and the names of all solvers. They know sigmas, velocities and latents; not models, guidance or noise generators."""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .diffusion import DDIM, SDEDPMPlusPlus
from .errors import ModelError
from .schedule import TRAIN_STEPS, Schedule


def shifted(sigmas: Tensor, shift: float) -> Tensor:
    """Noise levels moved towards more noise: Esser et al., arXiv 2403.03206, equation 23."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


class FlowScheduler(Schedule):
    """The noise levels of a run and one solver step along them. sigmas: [steps + 1] float32 from near 1 down to 0."""

    first_sigma = 1.0

    def __init__(self, steps: int, shift: float):
        super().__init__(steps, shift)
        sigmas = self.noise_levels(steps, shift)
        self.sigmas = sigmas.float()
        self.timesteps = self.model_times(sigmas[:-1])

    def noise_levels(self, steps: int, shift: float) -> Tensor:
        """[steps + 1] float64, falling to 0."""
        even = torch.from_numpy(np.linspace(self.first_sigma, 0, steps + 1))  # torch's linspace rounds otherwise
        return shifted(even, shift)

    def model_times(self, sigmas: Tensor) -> Tensor:
        """What the model is told of float64 noise levels."""
        # Truncated, not rounded, from float64: wan/utils/fm_solvers_unipc.py:FlowUniPCMultistepScheduler.set_timesteps.
        return (sigmas * TRAIN_STEPS).long()

    def mixed(self, latents: Tensor, noise: Tensor) -> Tensor:
        sigma = self.sigma(self.index)
        return (1 - sigma) * latents + sigma * noise

    def estimate(self, prediction: Tensor, x: Tensor) -> Tensor:
        return x - self.sigma(self.index) * prediction

    def sigma(self, index: int) -> float:
        return self.sigmas[index].item()

    def half_log_snr(self, index: int) -> float:
        """lambda = log((1 - sigma) / sigma), infinite at both ends."""
        sigma = self.sigma(index)
        if sigma in (0.0, 1.0):
            return math.inf if sigma == 0 else -math.inf
        return math.log(1 - sigma) - math.log(sigma)


class Euler(FlowScheduler):
    """x + (next sigma - sigma) * velocity, on UniPC's noise levels."""

    first_sigma = torch.tensor(1 - 1 / TRAIN_STEPS, dtype=torch.float32).item()

    def advance(self, velocity: Tensor, x: Tensor, draw: Callable[[], Tensor] | None) -> Tensor:
        return x + (self.sigma(self.index + 1) - self.sigma(self.index)) * velocity


class FlowEuler(Euler):
    """Euler from sigma 1 to 1/1000, then to 0, without rounding of the timesteps: EasyAnimate V5.1.

    Source: diffusers v0.31 FlowMatchEulerDiscreteScheduler with use_dynamic_shifting, whose shift is exp(mu);
    EasyAnimate always gives mu = 1, so that the `shift` in its scheduler_config.json is without effect.
    """

    def noise_levels(self, steps: int, shift: float) -> Tensor:
        even = torch.from_numpy(np.linspace(1, 1 / TRAIN_STEPS, steps))
        return F.pad(shifted(even, shift), (0, 1))

    def model_times(self, sigmas: Tensor) -> Tensor:
        return (sigmas * TRAIN_STEPS).float()


class FlowEulerStatic(FlowEuler):
    """The same scheduler without dynamic shifting: its lowest level is shifted before the levels in between are evenly
    spaced, and again with them."""

    def noise_levels(self, steps: int, shift: float) -> Tensor:
        lowest = shifted(torch.tensor(1 / TRAIN_STEPS, dtype=torch.float64), shift).item()
        even = torch.from_numpy(np.linspace(1, lowest, steps))
        return F.pad(shifted(even, shift), (0, 1))


class UniPC(FlowScheduler):
    """UniPC-2 with B(h) = e^h - 1 on predictions of the clean latents: Zhao et al., arXiv 2302.04867.

    As configured in wan/utils/fm_solvers_unipc.py: order 2, first order in the last step, corrector from the second on.
    """

    first_sigma = Euler.first_sigma

    def __init__(self, steps: int, shift: float):
        super().__init__(steps, shift)
        self.clean: list[Tensor] = []  # the latest two predictions, older first
        self.previous: tuple[Tensor, int] | None = None  # latents and order of the last predictor step

    def advance(self, velocity: Tensor, x: Tensor, draw: Callable[[], Tensor] | None) -> Tensor:
        i = self.index
        clean = self.estimate(velocity, x)
        if self.previous is not None:
            x = self.correct(clean)
        self.clean = [*self.clean[-1:], clean]
        order = min(2, len(self.timesteps) - i, i - self.begin + 1)
        self.previous = (x, order)
        base, scale, h = self.exponential(x, clean, i, i + 1)
        if order == 1:
            return base
        ratio = (self.half_log_snr(i - 1) - self.half_log_snr(i)) / h
        return base - scale * 0.5 * (self.clean[0] - clean) / ratio

    def correct(self, clean: Tensor) -> Tensor:
        """The last predictor step again, now that the prediction at its end is known."""
        i = self.index
        x, order = self.previous
        before = self.clean[-1]
        base, scale, h = self.exponential(x, before, i - 1, i)
        if order == 1:
            return base - scale * 0.5 * (clean - before)
        ratio = (self.half_log_snr(i - 2) - self.half_log_snr(i - 1)) / h
        phi1 = math.expm1(-h)
        phi2 = phi1 / -h - 1
        phi3 = phi2 / -h - 0.5
        b1, b2 = phi2 / phi1, 2 * phi3 / phi1
        weight = (b1 - b2) / (1 - ratio)  # [[1, 1], [ratio, 1]] @ [weight, b1 - weight] = [b1, b2]
        return base - scale * (weight * (self.clean[-2] - before) / ratio + (b1 - weight) * (clean - before))

    def exponential(self, x: Tensor, clean: Tensor, i: int, j: int) -> tuple[Tensor, float, float]:
        """The first-order step from level i to j, the factor of its corrections, and the step in lambda."""
        h = self.half_log_snr(j) - self.half_log_snr(i)
        scale = (1 - self.sigma(j)) * math.expm1(-h)
        return self.sigma(j) / self.sigma(i) * x - scale * clean, scale, h


class DPMPlusPlus(FlowScheduler):
    """DPM-Solver++(2M), midpoint: Lu et al., arXiv 2211.01095, algorithm 2, as configured in wan/utils/fm_solvers.py.

    The first sigma is exactly 1, so the second step's correction vanishes; the last step is of first order.
    """

    def __init__(self, steps: int, shift: float):
        super().__init__(steps, shift)
        self.clean: Tensor | None = None

    def advance(self, velocity: Tensor, x: Tensor, draw: Callable[[], Tensor] | None) -> Tensor:
        i = self.index
        sigma, target = self.sigma(i), self.sigma(i + 1)
        before, self.clean = self.clean, self.estimate(velocity, x)
        h = self.half_log_snr(i + 1) - self.half_log_snr(i)
        scale = (1 - target) * math.expm1(-h)
        x = target / sigma * x - scale * self.clean
        if before is None or target == 0:
            return x
        ratio = (self.half_log_snr(i) - self.half_log_snr(i - 1)) / h
        return x - 0.5 * scale * (self.clean - before) / ratio


FLOW = {"unipc": UniPC, "dpm++": DPMPlusPlus, "euler": Euler, "flow_euler": FlowEuler,
        "flow_euler_static": FlowEulerStatic}  # fmt: skip
DIFFUSION = {"dpm_sde": SDEDPMPlusPlus, "ddim": DDIM}
CLASSES = {**FLOW, **DIFFUSION}
SCHEDULERS = tuple(CLASSES)


def make_scheduler(name: str, steps: int, shift: float) -> Schedule:
    """A fresh scheduler of one of SCHEDULERS; ModelError where the name, steps or shift make no schedule."""
    if name not in CLASSES:
        raise ModelError(f"There is no scheduler {name!r}; choose one of {', '.join(SCHEDULERS)}.")
    return CLASSES[name](steps, shift)
