"""The solvers on a flow whose exact solution is known, and their schedules."""

from __future__ import annotations

import math

import pytest
import torch
from comfyui_trajectory.models.common.errors import ModelError
from comfyui_trajectory.models.common.schedulers import SCHEDULERS, make_scheduler


def error_on_gaussian_data(name: str, steps: int, spread: float = 0.5) -> float:
    """For data from N(0, spread^2) the flow is known: a point keeps its place in units of the standard deviation."""
    schedule = make_scheduler(name, steps, 1.0)

    def deviation(i: int) -> float:
        sigma = schedule.sigma(i)
        return math.hypot((1 - sigma) * spread, sigma)

    x = torch.tensor([deviation(0)], dtype=torch.float64)
    for i in range(steps):
        sigma = schedule.sigma(i)
        clean = x * spread**2 * (1 - sigma) / deviation(i) ** 2
        noise = x * sigma / deviation(i) ** 2
        x = schedule.step(noise - clean, x)
    return abs(x.item() - spread)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_more_steps_come_closer_to_the_exact_solution(name: str) -> None:
    assert error_on_gaussian_data(name, 40) < error_on_gaussian_data(name, 10) < 0.2


def test_second_order_solvers_beat_euler() -> None:
    euler = error_on_gaussian_data("euler", 20)
    assert error_on_gaussian_data("unipc", 20) < euler / 2
    assert error_on_gaussian_data("dpm++", 20) < euler / 2


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_perfect_model_is_followed_exactly_from_any_start(name: str) -> None:
    clean, noise = torch.randn(2, 3), torch.randn(2, 3)
    for index in (0, 3, 7):
        schedule = make_scheduler(name, 8, 5.0)
        x = schedule.start(clean, noise, index)
        sigma = schedule.sigma(index)
        torch.testing.assert_close(x, (1 - sigma) * clean + sigma * noise)
        for _ in range(index, 8):
            x = schedule.step(noise - clean, x)
        torch.testing.assert_close(x, clean, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_bad_schedule_is_an_error_that_names_the_value(name: str) -> None:
    for steps, shift, message in ((0, 3.0, "steps is 0"), (4, 0.0, "shift is 0"), (4, math.nan, "shift is nan")):
        with pytest.raises(ModelError, match=message):
            make_scheduler(name, steps, shift)
    with pytest.raises(ModelError, match="Step 4 is not one of the 4"):
        make_scheduler(name, 4, 3.0).start(torch.zeros(1), torch.zeros(1), 4)


def test_an_unknown_scheduler_is_told_the_names() -> None:
    with pytest.raises(ModelError, match="'ddim'; choose one of unipc, dpm\\+\\+, euler"):
        make_scheduler("ddim", 10, 3.0)


def test_a_scheduler_serves_one_run() -> None:
    schedule = make_scheduler("euler", 1, 3.0)
    schedule.step(torch.zeros(1), torch.zeros(1))
    with pytest.raises(ModelError, match="new scheduler"):
        schedule.step(torch.zeros(1), torch.zeros(1))
