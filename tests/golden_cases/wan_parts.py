"""Golden cases of what stands around the Wan transformer: encoders, solvers, sizes, fp8 files."""

from __future__ import annotations

import re

import torch
from comfyui_trajectory.models.common.checkpoint import Checkpoint, assign, open_checkpoint
from comfyui_trajectory.models.common.ops import apply_dtype, real_weight
from comfyui_trajectory.models.common.registry import identify
from comfyui_trajectory.models.common.schedulers import make_scheduler
from comfyui_trajectory.models.wan import image, text
from comfyui_trajectory.models.wan.config import WanConfig
from comfyui_trajectory.models.wan.size import size_for_area, token_count
from comfyui_trajectory.models.wan.transformer import WanTransformer

from . import GoldenCase, configured

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


def loaded(module, kind: str, weights: dict, config: dict | None = None):
    checkpoint = Checkpoint.from_tensors(weights)
    return module.load(checkpoint, identify(checkpoint, kind, config))


def umt5(case: GoldenCase) -> None:
    encoder = loaded(text, "text encoder", case.weights)
    ids, mask = case.inputs["ids"], case.inputs["mask"]
    case.check("hidden", encoder.encode_ids(ids, mask))
    short = case.outputs["hidden_nomask"].shape[1]
    case.check("hidden_nomask", encoder.encode_ids(ids[:, :short]))
    for row in range(len(ids)):
        count = int(mask[row].sum())
        encoder.tokenizer = lambda prompt, row=row, count=count: ids[row, :count].tolist()
        case.check(f"context_{row}", encoder.encode("the ids of the case"))


def text_clean(case: GoldenCase) -> None:
    assert [text.clean(value) for value in case.data["text_inputs"]["texts"]] == case.data["text_outputs"]["cleaned"]


def clip_vision(case: GoldenCase) -> None:
    encoder = loaded(image, "image encoder", case.weights, case.config)
    assert encoder.config.image_size == case.config["image_size"]
    pixels = {name.removeprefix("image_"): value.movedim(0, -1)[None] / 2 + 0.5 for name, value in case.inputs.items()}
    every = round(encoder.config.image_size / case.outputs["debug/preprocessed_0"].shape[-1])
    case.check("debug/preprocessed_0", encoder.preprocess(pixels["0"])[..., ::every, ::every])
    for name, value in pixels.items():
        case.check(f"tokens_{name}", encoder.encode(value))
    case.check("tokens_all_blocks_0", encoder.hidden_states(pixels["0"])[-1])


def fp8_plain(case: GoldenCase) -> None:
    file = case.folder / "checkpoint.safetensors"
    checkpoint = open_checkpoint(file)
    config = identify(checkpoint, "diffusion model").config
    expected = configured(WanConfig, case.config)
    assert {name: getattr(config, name) for name in case.config} == {n: getattr(expected, n) for n in case.config}
    with torch.device("meta"):
        model = WanTransformer(config)
    apply_dtype(assign(model, checkpoint.part("diffusion model")))
    assert any(p.dtype.itemsize == 1 for p in model.parameters()), "fp8 weights stay in fp8"
    assert all(
        p.dtype == torch.float32 for name, p in model.named_parameters() if name.endswith("bias") or "norm" in name
    )
    for name, weight in case.outputs.items():
        if name.startswith("check/"):
            layer = model.get_submodule(name.removeprefix("check/").removesuffix(".weight"))
            case.close(real_weight(layer, torch.float32), weight, name)
    inputs = case.inputs
    extra = {name: inputs[name] for name in ("y", "clip_fea") if name in inputs}
    case.check("out", model(inputs["x"], inputs["t"], inputs["context"][None], **extra)[0])


fp8_scaled = fp8_plain
