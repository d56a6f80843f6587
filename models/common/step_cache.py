"""Skipping steps in which hardly anything changes: TeaCache inside a model, EasyCache round it. Both know numbers and
what a step gave; no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from .errors import ModelError


class StepCache:
    """TeaCache's decisions of one run of `steps` steps, for one half of the guidance: a step's blocks are skipped where
    their input has hardly changed since the last step that ran them.

    Liu et al., arXiv 2411.19108; as in ali-vilab/TeaCache and aigc-apps/EasyAnimate
    easyanimate/models/transformer3d.py:TeaCache. coefficients: of the polynomial, highest power first, that turns the
    relative change of what is looked at into the expected change of the output. threshold: the expected change that may
    add up before the blocks run again. first: how many steps always run at the start; the last one does too.
    change: what the blocks last did to their tokens. skipped: how many steps were. forced: set from outside, the next
    step runs too, because something else has changed.
    """

    def __init__(self, coefficients: Sequence[float], threshold: float, steps: int, first: int = 1):
        if not threshold > 0:
            raise ModelError(f"The threshold of the step cache is {threshold}: it must be above 0 (0.1 is usual).")
        self.expected = np.poly1d(coefficients)
        self.threshold, self.steps, self.first = threshold, steps, first
        self.step = self.skipped = 0
        self.relative = self.distance = 0.0  # at the latest step: its change, and what adds up to the threshold
        self.ran, self.forced = True, False
        self.previous: Tensor | None = None
        self.change: Tensor | None = None

    def skips(self, modulated: Tensor) -> bool:
        """Whether this step may reuse `change`. modulated: what is looked at in this step; called once a step."""
        at_an_end = self.step < self.first or self.step == self.steps - 1 or self.forced
        self.forced = False
        self.relative = 0.0 if at_an_end else relative_change(self.previous, modulated)
        before = 0.0 if self.ran else self.distance
        self.distance = 0.0 if at_an_end else before + float(self.expected(self.relative))
        self.ran = at_an_end or self.distance >= self.threshold
        self.previous = modulated
        self.step += 1
        self.skipped += not self.ran
        return not self.ran


def through(
    cache: StepCache | None, look: Callable[[Tensor], Tensor], tokens: Callable[[], Tensor],
    run: Callable[[Tensor], Tensor],
) -> Tensor:  # fmt: skip
    """run(tokens()), or where `cache` says so those tokens with what was done to them last. look: what it goes by.

    Without a cache the tokens that go in are not kept here while the blocks run.
    """
    if cache is None:
        return run(tokens())
    before = tokens()
    if cache.skips(look(before)):
        return before + cache.change
    result = run(before)
    cache.change = result - before
    return result


class EasyCache:
    """Which steps of one run are left out altogether, without any figure of the model: Zhou et al., arXiv 2507.02860.

    A step turns its input x into a prediction v. How fast v changes with x (`rate`) is nearly constant for some steps,
    so it tells from the change of x how far v has changed since the last step that was computed; until that adds up to
    `threshold` (a share of v's size), v is x and what the last computed step put on top of it. The first steps and the
    last always run, and one after `forced` was set. One decision holds for both halves of the guidance.
    """

    FIRST = 0.15  # share of the steps that always run, as ComfyUI's comfy_extras/nodes_easycache.py proposes

    def __init__(self, threshold: float, steps: int):
        self.threshold, self.steps = threshold, steps
        self.first = max(2, round(self.FIRST * steps))
        self.step = self.skipped = 0
        self.error = self.size = 0.0
        self.forced = False
        self.rate: float | None = None
        self.previous: Tensor | None = None  # x of the step before
        self.computed: tuple[Tensor, Tensor] | None = None  # x and v of the last computed step
        self.offsets: dict[int, Tensor] = {}

    def skips(self, x: Tensor) -> bool:
        """Whether this step is left out; called once a step with its input."""
        at_an_end = self.step < self.first or self.step == self.steps - 1 or self.forced
        self.forced = False
        if not at_an_end and self.rate is not None:
            self.error += self.rate * mean(x - self.previous) / self.size
        skipped = not at_an_end and self.rate is not None and self.error < self.threshold
        self.previous = x
        self.step += 1
        self.skipped += skipped
        return skipped

    def remember(self, x: Tensor, predictions: Sequence[Tensor]) -> None:
        """What a computed step gave, one for each half of the guidance, the prompt's first."""
        v = predictions[0]
        if self.computed is not None:
            moved = mean(x - self.computed[0])
            self.rate = mean(v - self.computed[1]) / moved if moved else None
        self.computed, self.size, self.error = (x, v), max(mean(v), 1e-12), 0.0
        self.offsets = {half: prediction - x for half, prediction in enumerate(predictions)}

    def recall(self, x: Tensor) -> list[Tensor]:
        return [x + offset for offset in self.offsets.values()]


def mean(x: Tensor) -> float:
    return x.abs().mean().item()


def relative_change(before: Tensor, after: Tensor) -> float:
    """Mean absolute difference over mean absolute value."""
    before, after = before.float(), after.float()
    return ((after - before).abs().mean() / before.abs().mean()).item()
