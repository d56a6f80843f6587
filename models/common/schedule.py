"""What every solver has: the timesteps of a run, where it stands in them, and one step. Knows no formula."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .errors import ModelError

TRAIN_STEPS = 1000


class Schedule:
    """The steps of one run; it remembers earlier ones, so that a new run needs a new object.

    timesteps: [steps] in 0..1000, what the model is given. A solver adds `mixed`, `estimate` and `advance`.
    """

    timesteps: Tensor

    def __init__(self, steps: int, shift: float):
        if steps < 1:
            raise ModelError(f"steps is {steps}: at least 1 is needed.")
        if not shift > 0:
            raise ModelError(
                f"shift is {shift}: it must be above 0 (3 for 480p, 5 for 720p in Wan 2.1; 1 in CogVideoX)."
            )
        self.index = self.begin = 0

    def start(self, latents: Tensor, noise: Tensor, index: int = 0) -> Tensor:
        """`latents` with as much `noise` as belongs to step `index`, which is the first one to run."""
        if not 0 <= index < len(self.timesteps):
            raise ModelError(f"Step {index} is not one of the {len(self.timesteps)} steps of this schedule.")
        self.index = self.begin = index
        return self.mixed(latents, noise)

    def step(self, prediction: Tensor, x: Tensor, draw: Callable[[], Tensor] | None = None) -> Tensor:
        """Latents of the next noise level from those of the present one and the model's prediction there. draw: gives
        standard normal noise of the shape of x; solvers that add noise need it."""
        if self.index >= len(self.timesteps):
            raise ModelError(f"All {len(self.timesteps)} steps were taken; a new run needs a new scheduler.")
        x = self.advance(prediction, x, draw)
        self.index += 1
        return x

    def guidance(self, cfg: float) -> float:
        """How strongly the present step is guided where `cfg` is asked for."""
        return cfg

    def mixed(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Clean latents and noise in the proportions of the present step."""
        raise NotImplementedError

    def estimate(self, prediction: Tensor, x: Tensor) -> Tensor:
        """The clean latents that the prediction of the present step stands for."""
        raise NotImplementedError

    def advance(self, prediction: Tensor, x: Tensor, draw: Callable[[], Tensor] | None) -> Tensor:
        raise NotImplementedError
