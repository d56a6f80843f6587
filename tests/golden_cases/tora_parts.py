"""Golden cases of what stands around the CogVideoX transformer: trajectories, flow, solvers, text."""

from __future__ import annotations

import torch
from comfyui_trajectory.models.cogvideox import text
from comfyui_trajectory.models.cogvideox.detect import detect
from comfyui_trajectory.models.common import t5
from comfyui_trajectory.models.common.checkpoint import Checkpoint
from comfyui_trajectory.models.common.diffusion import signal_levels
from comfyui_trajectory.models.common.schedulers import make_scheduler
from comfyui_trajectory.trajectory.flow import SIGMA, flow_colours, flow_of_tracks, flow_pixels, mirrored_blur
from comfyui_trajectory.trajectory.tora import (
    comfy_points, decode_tora, official_pixels, official_processed, official_read, official_tracks,
)  # fmt: skip

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


def traj_points(case: GoldenCase) -> None:
    files = {
        name.removeprefix("file."): value.tolist() for name, value in case.inputs.items() if name.startswith("file.")
    }
    for name, text_input in case.data["text_inputs"].items():
        if name in files:
            assert decode_tora(text_input.encode(), name) == [tuple(map(float, point)) for point in files[name]]
    for key, expected in case.outputs.items():
        if key.startswith("kijai."):
            sub = case.config["subcases"]["kijai"]
            scaled = comfy_points(case.inputs["kijai.pixel_coords"].tolist(), sub["canvas_width"], sub["canvas_height"])
            pixels = official_pixels(scaled, sub["num_frames"], sub["width"], sub["height"])
            case.close(torch.tensor(scaled) if key == "kijai.scaled_to_256" else pixels, expected, key)
            continue
        name, size, what, *number = key.split(".")
        frames, height, width = (int(part[1:]) for part in size.split("_"))
        reverse = name.endswith("_reversed")
        if number:  # one of several files of one call, which are dealt with one by one
            assert any(
                torch.equal(official_pixels(points, frames, width, height), expected) for points in files.values()
            )
            continue
        points = files[name.removesuffix("_reversed")]
        read = official_read(points, frames, reverse)
        if what == "pixels":
            case.close(official_pixels(points, frames, width, height), expected, key)
        else:
            case.close(torch.tensor(read if what == "read" else official_processed(read, frames)), expected, key)


def traj_flow(case: GoldenCase) -> None:
    kernel = case.outputs["blur_kernel"]
    assert SIGMA == case.config["sigma"]
    middle = mirrored_blur(3 * len(kernel), torch.device("cpu"))[len(kernel) + len(kernel) // 2]
    middle = middle[len(kernel) : 2 * len(kernel)]
    case.check("blur_kernel", middle[:, None] * middle)
    for name, sub in case.config["subcases"].items():
        frames, height, width = sub["num_frames"], sub["height"], sub["width"]
        points = [case.inputs[f"{name}.points.{i}"].tolist() for i in range(sub["objects"])]
        pixels = [official_pixels(given, frames, width, height) for given in points]
        for i, value in enumerate(pixels):
            case.close(value, case.inputs[f"{name}.pixels.{i}"], f"{name} pixels {i}")
        field = flow_of_tracks(official_tracks(pixels, width, height), width, height)
        stored = slice(None) if sub["stored_flow_frames"] == "all" else sub["stored_flow_frames"]
        case.check(f"{name}.flow", field.permute(0, 2, 3, 1)[stored])
        case.close(field.norm(dim=1).max(), torch.tensor(sub["max_norm"]), f"{name} longest")
        colours_agree(case, name, flow_colours(field))


def colours_agree(case: GoldenCase, name: str, colours: torch.Tensor) -> None:
    """Within one level: the release's colours are floored, and its blur has rounding noise far from the tracks."""
    expected = case.outputs[f"{name}.rgb"]
    assert colours.shape == expected.shape
    assert (colours.int() - expected.int()).abs().max() <= case.data["tolerance_rgb"]["uint8_atol"]
    if f"{name}.video_flow" in case.outputs:
        difference = (flow_pixels(colours)[0].movedim(0, 1) - case.outputs[f"{name}.video_flow"][0]).abs().max()
        assert difference <= case.data["tolerance_rgb"]["float_atol"]


def trajectory_pixels(case: GoldenCase, frames: int, width: int, height: int) -> list[torch.Tensor]:
    """The objects of an end-to-end case as pixels a frame."""
    points = {name: value for name, value in case.inputs.items() if name.startswith("traj_points.")}
    pixels = [official_pixels(points[f"traj_points.{i}"].tolist(), frames, width, height) for i in range(len(points))]
    for i, value in enumerate(pixels):
        case.check(f"traj_pixels.{i}", value)
    return pixels
