"""Golden cases of what stands around the CogVideoX transformer: trajectories, flow, solvers, text."""

from __future__ import annotations

import torch
from comfyui_trajectory.models.cogvideox import text
from comfyui_trajectory.models.cogvideox.detect import detect
from comfyui_trajectory.models.common import t5
from comfyui_trajectory.models.common.checkpoint import Checkpoint
from comfyui_trajectory.models.common.diffusion import signal_levels
from comfyui_trajectory.models.common.schedulers import make_scheduler

from . import GoldenCase


def solver(name: str):
    def run(case: GoldenCase) -> None:
        for shift in (1, 3):
            levels = torch.tensor(signal_levels(float(shift)), dtype=torch.float64)
            case.check(f"alphas_cumprod.shift{shift}", levels)
            case.check(f"alphas_cumprod_f32.shift{shift}", levels.float())
        for key, expected in case.outputs.items():
            if key.startswith("timesteps.n"):
                case.close(make_scheduler(name, int(key.removeprefix("timesteps.n")), 1.0).timesteps, expected, key)
        for sub in case.config["subcases"].values():
            follow(case, name, sub["num_inference_steps"])

    return run


def follow(case: GoldenCase, name: str, steps: int) -> None:
    """One run with the case's fake model and its noise."""
    key, fake = f"n{steps}", case.config["fake_model"]
    schedule = make_scheduler(name, steps, case.config["snr_shift_scale"])
    x = case.inputs[f"{key}.x0"]
    seen = {"sample": [], "model_output": [], "pred_original": []}
    for index, t in enumerate(schedule.timesteps):
        v = fake["a"] * torch.sin(fake["b"] * x + 0.001 * t) + fake["c"] * x
        drawn = 0

        def draw(index=index) -> torch.Tensor:
            nonlocal drawn
            drawn += 1
            return case.inputs[f"{key}.noise_{('first', 'second')[drawn - 1]}"][index]

        seen["model_output"].append(v)
        seen["pred_original"].append(schedule.estimate(v, x))
        x = schedule.step(v, x, draw)
        seen["sample"].append(x)
        if f"{key}.draws" in case.inputs:
            assert drawn == case.inputs[f"{key}.draws"][index], f"draws of step {index} of {steps}"
    for what, values in seen.items():
        if f"{key}.{what}" in case.outputs:
            case.check(f"{key}.{what}", torch.stack(values))
    if f"{key}.sample_last" in case.outputs:
        case.check(f"{key}.sample_last", x)
        case.check(f"{key}.sample_first3", torch.stack(seen["sample"][:3]))


scheduler_dpm, scheduler_ddim = solver("dpm_sde"), solver("ddim")


def dynamic_cfg(case: GoldenCase) -> None:
    for steps in case.inputs["n"].tolist():
        for key, expected in case.outputs.items():
            if not key.startswith(f"n{steps}.g"):
                continue
            schedule, seen = make_scheduler("dpm_sde", steps, 1.0), []
            for index in range(steps):
                schedule.index = index
                seen.append(schedule.guidance(float(key.split(".g")[1])))
            case.close(torch.tensor(seen, dtype=torch.float64), expected, key)
        case.check(f"n{steps}.timesteps", make_scheduler("dpm_sde", steps, 1.0).timesteps)


def t5_encoder(weights: dict) -> text.TextEncoder:
    """Not through `identify`: a T5 of one block looks like umT5's."""
    checkpoint = Checkpoint.from_tensors(weights)
    return text.load(checkpoint, detect("text encoder", checkpoint.shapes, {}))


def text_t5(case: GoldenCase) -> None:
    encoder, ids = t5_encoder(case.weights), case.inputs["input_ids"]
    assert encoder.length == case.config["max_sequence_length"] == ids.shape[1]
    case.check("prompt_embeds", encoder.encode_ids(ids))
    for row, expected in zip(ids.tolist(), case.outputs["prompt_embeds"]):
        real = row[: row.index(t5.END) + 1] if t5.END in row else row
        encoder.tokenizer = lambda prompt, real=real: real
        case.close(encoder.encode("the ids of the case"), expected, "prompt as ids without padding")
