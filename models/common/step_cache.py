"""TeaCache: skips a step's transformer blocks where their input has hardly changed since the last step that ran them.
Knows one number a step; no model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from .errors import ModelError


class StepCache:
    """The decisions of one run of `steps` steps, for one half of the guidance. The first and the last step always run.

    Liu et al., arXiv 2411.19108; as in aigc-apps/EasyAnimate easyanimate/models/transformer3d.py:TeaCache.
    coefficients: of the polynomial, highest power first, that turns the relative change of the first block's input into
    the expected change of the output. threshold: the expected change that may add up before the blocks run again.
    change: what the caller's blocks last did to their tokens.
    """

    def __init__(self, coefficients: Sequence[float], threshold: float, steps: int):
        if not threshold > 0:
            raise ModelError(f"The threshold of the step cache is {threshold}: it must be above 0 (0.1 is usual).")
        self.expected = np.poly1d(coefficients)
        self.threshold, self.steps = threshold, steps
        self.step = 0
        self.relative = self.distance = 0.0  # at the latest step: its change, and what adds up to the threshold
        self.ran = True
        self.previous: Tensor | None = None
        self.change: Tensor | None = None

    def skips(self, modulated: Tensor) -> bool:
        """Whether this step may reuse `change`. modulated: the first block's input at this step; called once a step."""
        at_an_end = self.step in (0, self.steps - 1)
        self.relative = 0.0 if at_an_end else relative_change(self.previous, modulated)
        before = 0.0 if self.ran else self.distance
        self.distance = 0.0 if at_an_end else before + float(self.expected(self.relative))
        self.ran = at_an_end or self.distance >= self.threshold
        self.previous = modulated
        self.step += 1
        return not self.ran


def relative_change(before: Tensor, after: Tensor) -> float:
    """Mean absolute difference over mean absolute value."""
    before, after = before.float(), after.float()
    return ((after - before).abs().mean() / before.abs().mean()).item()
