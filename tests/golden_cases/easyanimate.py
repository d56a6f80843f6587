"""Golden cases of EasyAnimate's transformer, VAE, positions and sizes."""

from __future__ import annotations

import re

import torch
from comfyui_trajectory.models.common.rope import crop_region
from comfyui_trajectory.models.common.schedulers import make_scheduler
from comfyui_trajectory.models.easyanimate.config import EasyAnimateConfig, EasyAnimateVAEConfig
from comfyui_trajectory.models.easyanimate.transformer import BASE, EasyAnimateTransformer, rotary_table
from comfyui_trajectory.models.easyanimate.vae import EasyAnimateVAE

from . import GoldenCase
from .wan import build


def transformer_runs(case: GoldenCase) -> None:
    model = build(EasyAnimateTransformer, EasyAnimateConfig, case.config, case.weights)
    inputs = case.inputs
    y = next((inputs[name] for name in ("control_latents", "inpaint_latents") if name in inputs), None)
    for index in (0, 1):
        flow = model(inputs["hidden_states"], inputs[f"timestep_{index}"], inputs["encoder_hidden_states"], y)
        case.check(f"out_{index}", flow)


ea_dit_t2v = ea_dit_inp = ea_dit_control = ea_dit_control_camera = transformer_runs


def ea_vae(case: GoldenCase) -> None:
    vae = build(EasyAnimateVAE, EasyAnimateVAEConfig, case.config, case.weights)
    video, latents = case.inputs["video"], case.inputs["latents"]
    for name in case.outputs:
        kind, frames = re.fullmatch(r"(\w+)_(\d+)", name).groups()
        frames = int(frames)
        if kind == "moments":
            for chunk in (4, 8):
                case.check(name, vae.moments(video[:, :, :frames], chunk))
        elif kind == "decode":
            for chunk in (1, 3):
                case.check(name, vae.decode(latents[:, :, : (frames - 1) // 4 + 1], chunk))
        else:
            pixels = vae.decode(vae.encode(video[:, :, :frames]))
            case.check(name, (pixels.clamp(-1, 1) / 2 + 0.5).clamp(0, 1))


def rope(case: GoldenCase) -> None:
    grids = case.data["grids"]
    for index, sub in enumerate(grids):
        size = (sub["grid_height"], sub["grid_width"])
        start, stop = crop_region(size, BASE)
        assert [list(start), list(stop)] == [sub["crop_start"], sub["crop_stop"]]
        for name, low, high, count in zip(("grid_h", "grid_w"), start, stop, size):
            case.check(f"{name}_{index}", low + torch.arange(count) * (high - low) / count)
        if f"cos_{index}" in case.outputs:
            check_table(case, rotary_table((sub["frames"], *size), sub["head_dim"], torch.device("cpu")), f"_{index}")
    if "pick" in case.outputs:
        table = rotary_table((13, 24, 42), 64, torch.device("cpu"))
        check_table(case, table[:, case.outputs["pick"]], "_pick")


def check_table(case: GoldenCase, table: torch.Tensor, name: str) -> None:
    cos, signed = table
    case.check(f"cos{name}", cos)
    case.check(f"sin{name}", torch.stack([-signed[:, ::2], signed[:, 1::2]], dim=-1).flatten(1))


def scheduler(case: GoldenCase) -> None:
    clean, noise, c = (case.inputs[name] for name in ("clean", "sample", "c"))
    for run in case.data["runs"]:
        key, steps = run["name"], run["steps"]
        if run["config"].get("use_dynamic_shifting"):
            kind = ("flow_euler", steps, torch.e)
        else:
            kind = ("flow_euler_static", steps, run["config"]["shift"])
        schedule = make_scheduler(*kind)
        case.check(f"{key}_timesteps", schedule.timesteps)
        case.check(f"{key}_sigmas", schedule.sigmas)
        x, samples = noise, []
        for t in schedule.timesteps:
            x = schedule.step(x.sin() + t / 1000 * c, x)
            samples.append(x[0])
        case.check(f"{key}_samples", torch.stack(samples))
        for sub in run["scale_noise"]:
            index = steps - sub["steps_left"]
            started = make_scheduler(*kind)
            noisy = started.start(clean, noise, index)
            case.check(f"{key}_noisy_{round(sub['strength'] * 100)}", noisy)
            assert abs(started.timesteps[index].item() - sub["first_timestep"]) < 1e-3
