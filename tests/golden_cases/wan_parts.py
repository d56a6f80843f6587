"""Golden cases of what stands around the Wan transformer: encoders, solvers, sizes, fp8 files."""

from __future__ import annotations

import re

import torch
from comfyui_trajectory.models.common.schedulers import make_scheduler
from comfyui_trajectory.models.wan.size import size_for_area, token_count

from . import GoldenCase

SCHEDULER_NAMES = {"unipc": "unipc", "dpmpp": "dpm++"}


def schedulers(case: GoldenCase) -> None:
    a, b = case.inputs["a"], case.inputs["b"]
    for name in sorted({key.split("/")[0] for key in case.outputs}):
        kind, shift, steps = re.fullmatch(r"(\w+)_shift([\d.]+)_steps(\d+)", name).groups()
        schedule = make_scheduler(SCHEDULER_NAMES[kind], int(steps), float(shift))
        case.check(f"{name}/timesteps", schedule.timesteps)
        case.check(f"{name}/sigmas", schedule.sigmas)
        if f"{name}/latents" not in case.outputs:
            continue
        x = case.inputs["x"]
        for i, t in enumerate(schedule.timesteps):
            velocity = a * x + b * torch.sin(0.005 * t.float())
            case.close(velocity, case.outputs[f"{name}/v"][i : i + 1].view_as(velocity), f"{name} velocity {i}")
            x = schedule.step(velocity, x)
            case.close(x, case.outputs[f"{name}/latents"][i : i + 1].view_as(x), f"{name} latents {i}")


def size_math(case: GoldenCase) -> None:
    frames = case.config["frame_num"]
    for (height, width, area), (rows, columns, tokens) in zip(
        case.inputs["image_h_w_area"].tolist(), case.outputs["lath_latw_seqlen"].tolist()
    ):
        size = size_for_area(height, width, area)
        assert size == (rows * 8, columns * 8), (height, width, area, size)
        assert token_count(*size, frames) == tokens
