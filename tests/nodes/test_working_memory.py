"""What the sampler asks ComfyUI to keep free is enough for a step of the large models, and not twice as much."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib import import_module
from types import SimpleNamespace

import pytest
import torch
from comfyui_trajectory.models import Options
from comfyui_trajectory.models.cogvideox.config import CogVideoXConfig
from comfyui_trajectory.models.cogvideox.transformer import CogVideoXTransformer
from comfyui_trajectory.models.common.checkpoint import Checkpoint
from comfyui_trajectory.models.common.memory import measure
from comfyui_trajectory.models.common.registry import identify
from comfyui_trajectory.models.easyanimate.config import EasyAnimateConfig
from comfyui_trajectory.models.easyanimate.transformer import EasyAnimateTransformer
from comfyui_trajectory.models.wan.config import WanConfig
from comfyui_trajectory.models.wan.transformer import WanTransformer
from comfyui_trajectory.nodes.sample import working_bytes

TORA = CogVideoXConfig(num_attention_heads=48, num_layers=2, traj_extractor_channels=128)
MODELS = {  # two blocks of each: blocks come one after the other
    "ati 14b": (WanTransformer, WanConfig(num_layers=2), (832, 480, 81)),
    "tora 5b": (CogVideoXTransformer, TORA, (720, 480, 49)),
    "easyanimate 12b": (EasyAnimateTransformer, EasyAnimateConfig(num_layers=2, in_channels=48), (672, 384, 49)),
}


@pytest.mark.parametrize("cache", ["off", "teacache"])
@pytest.mark.parametrize("storage", ["bf16", "fp8_e4m3fn"])
@pytest.mark.parametrize("name", MODELS)
def test_a_step_of_a_large_model_takes_no_more_than_is_asked_for(name, storage, cache) -> None:
    build, config, size = MODELS[name]
    with torch.device("meta"):
        tensors = {key: value.bfloat16() for key, value in build(config).state_dict().items()}
    stated = {} if build is EasyAnimateTransformer else {"config": json.dumps(asdict(config))}
    checkpoint = Checkpoint.from_tensors(tensors, "model.safetensors", stated)
    found = identify(checkpoint, "diffusion model", None)
    family = import_module(f"comfyui_trajectory.models.{found.family}")
    model = family.load_model(checkpoint, found, storage, torch.device("meta"))
    motion = SimpleNamespace(width=size[0], height=size[1], frames=size[2])
    model.options = Options(step_cache=cache)
    model.defaults["step_cache_coefficients"] = [0.0, 1.0]  # any will do
    asked = working_bytes(model, motion)
    assert working_bytes(model, motion, 0.1) >= asked
    assert 0.5 * asked < measure(model, *size).work < asked
    model.options = Options(guidance="batched", step_cache=cache)
    batched = working_bytes(model, motion)
    assert 0.5 * batched < measure(model, *size).work < batched
