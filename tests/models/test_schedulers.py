"""The solvers on data whose exact solution is known, and their schedules."""

from __future__ import annotations

import math

import pytest
import torch
from comfyui_trajectory.models.common.errors import ModelError
from comfyui_trajectory.models.common.schedulers import FLOW, SCHEDULERS, make_scheduler


def error_on_gaussian_data(name: str, steps: int, spread: float = 0.5) -> float:
    """For data from N(0, spread^2) the path is known: a point keeps its place in units of the standard deviation."""
    schedule = make_scheduler(name, steps, 1.0)
    signal, noise = shares(schedule)
    x = torch.tensor([math.hypot(signal * spread, noise)], dtype=torch.float64)
    for _ in range(steps):
        signal, noise = shares(schedule)
        variance = (signal * spread) ** 2 + noise**2
        x = schedule.step(prediction(name, schedule, x * spread**2 * signal / variance, x * noise / variance), x)
    return abs(x.item() - spread)


def shares(schedule) -> tuple[float, float]:
    """Of the clean latents and of the noise in the present step."""
    one, none = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    return schedule.mixed(one, none).item(), schedule.mixed(none, one).item()


def prediction(name: str, schedule, clean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """What a model that knows both says: the flow, or v."""
    if name in FLOW:
        return noise - clean
    signal, level = shares(schedule)
    return signal * noise - level * clean


@pytest.mark.parametrize("name", [*FLOW, "ddim"])
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
        signal, level = shares(schedule)
        torch.testing.assert_close(x, signal * clean + level * noise)
        for _ in range(index, 8):
            signal, level = shares(schedule)
            said = prediction(name, schedule, clean, (x - signal * clean) / level)
            torch.testing.assert_close(schedule.estimate(said, x), clean, rtol=1e-4, atol=1e-4)
            x = schedule.step(said, x, lambda: noise)
        torch.testing.assert_close(x, clean, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_bad_schedule_is_an_error_that_names_the_value(name: str) -> None:
    for steps, shift, message in ((0, 3.0, "steps is 0"), (4, 0.0, "shift is 0"), (4, math.nan, "shift is nan")):
        with pytest.raises(ModelError, match=message):
            make_scheduler(name, steps, shift)
    with pytest.raises(ModelError, match="Step 4 is not one of the 4"):
        make_scheduler(name, 4, 3.0).start(torch.zeros(1), torch.zeros(1), 4)


def test_an_unknown_scheduler_is_told_the_names() -> None:
    with pytest.raises(ModelError, match="'ddpm'; choose one of unipc, dpm\\+\\+, euler"):
        make_scheduler("ddpm", 10, 3.0)


def test_a_scheduler_serves_one_run() -> None:
    schedule = make_scheduler("euler", 1, 3.0)
    schedule.step(torch.zeros(1), torch.zeros(1))
    with pytest.raises(ModelError, match="new scheduler"):
        schedule.step(torch.zeros(1), torch.zeros(1))


def test_noise_is_drawn_twice_in_second_order_steps_and_the_second_is_used() -> None:
    x, drawn = torch.zeros(4), []

    def draw() -> torch.Tensor:
        drawn.append(torch.full((4,), float(len(drawn))))
        return drawn[-1]

    schedule = make_scheduler("dpm_sde", 4, 1.0)
    counts = []
    for _ in range(4):
        before = len(drawn)
        x = schedule.step(torch.zeros(4), x, draw)
        counts.append(len(drawn) - before)
    assert counts == [1, 2, 2, 1]
    with pytest.raises(ModelError, match="source of noise"):
        make_scheduler("dpm_sde", 4, 1.0).step(x, x)
