"""Scaled fp8 files as ComfyUI writes them, of CogVideoX, Tora and T5: every linear weight with its scale, and the marker
of the file or, in newer ones, of each layer. They compute with the numbers that were stored, and keep them in fp8."""

from __future__ import annotations

import json

import pytest
import torch
from comfyui_trajectory.models import load_model, load_text_encoder
from comfyui_trajectory.models.cogvideox.layouts import by_plan
from comfyui_trajectory.models.cogvideox.transformer import CogVideoXTransformer
from comfyui_trajectory.models.common.checkpoint import Checkpoint
from safetensors.torch import save_file
from torch import nn

from ..tiny_tora import t5_weights
from .test_cogvideox import I2V, SIZES, randomised, run, sat_names, stated

E4M3 = torch.float8_e4m3fn
PREFIX = "model.diffusion_model."
SPELLINGS = ("scaled_fp8", "comfy_quant")  # of older and newer ComfyUI


def scaled(state: dict, linear, spelling: str, prefix: str = "", shape: tuple = ()) -> tuple[dict, dict]:
    """The tensors of a scaled fp8 file, and the state that they stand for. linear: keys of the weights to be scaled."""
    tensors, meant = {}, dict(state)
    description = torch.tensor(list(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8)
    for key, value in state.items():
        if key not in linear:
            tensors[prefix + key] = value.to(torch.float16) if value.is_floating_point() else value
            meant[key] = tensors[prefix + key].float() if value.is_floating_point() else value
            continue
        scale = value.abs().max() / 448
        tensors[prefix + key] = (value / scale).to(E4M3)
        meant[key] = tensors[prefix + key].float() * scale
        layer = prefix + key.removesuffix("weight")
        if spelling == "scaled_fp8":
            tensors |= {f"{layer}scale_weight": scale.reshape(shape), f"{layer}scale_input": torch.ones(shape)}
        else:
            tensors |= {f"{layer}weight_scale": scale.reshape(shape), f"{layer}comfy_quant": description.clone()}
    if spelling == "scaled_fp8":
        tensors[f"{prefix}scaled_fp8"] = torch.zeros(2, dtype=E4M3)
    return {key: value.contiguous() for key, value in tensors.items()}, meant


def linear_weights(module: nn.Module) -> set[str]:
    return {f"{name}.weight" for name, layer in module.named_modules() if isinstance(layer, nn.Linear)}


def kept_in_fp8(module: nn.Module) -> set[str]:
    return {name for name, value in module.named_parameters() if value.dtype == E4M3}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("prefix", ["", PREFIX])
@pytest.mark.parametrize("config", [SIZES, I2V], ids=["t2v", "i2v"])
def test_tora_computes_with_the_stored_numbers_and_keeps_them(tmp_path, config, prefix, spelling):
    module = randomised(CogVideoXTransformer(config))
    linear = linear_weights(module)
    tensors, meant = scaled(module.state_dict(), linear, spelling, prefix)
    save_file(tensors, tmp_path / "tora_fp8_e4m3fn_scaled.safetensors")
    model = load_model(tmp_path / "tora_fp8_e4m3fn_scaled.safetensors", config=stated(config))
    assert len(linear) > 20 and kept_in_fp8(model.module) == linear
    module.load_state_dict(meant, strict=False)  # what counts batches is in files alone
    torch.testing.assert_close(run(model.module), run(module), rtol=1e-4, atol=1e-4)


def test_a_stated_dtype_takes_the_place_of_scaled_fp8(tmp_path):
    module = randomised(CogVideoXTransformer(SIZES))
    tensors, meant = scaled(module.state_dict(), linear_weights(module), SPELLINGS[0], PREFIX)
    save_file(tensors, tmp_path / "tora.safetensors")
    model = load_model(tmp_path / "tora.safetensors", config=stated(SIZES), dtype="fp32")
    assert kept_in_fp8(model.module) == set()
    module.load_state_dict(meant, strict=False)  # what counts batches is in files alone
    torch.testing.assert_close(run(model.module), run(module), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [False, True], ids=["one scale", "a scale a row"])
def test_fused_weights_of_the_original_layout_share_their_scale(rows):
    module = randomised(CogVideoXTransformer(SIZES))
    tensors = sat_names(dict(module.state_dict()), SIZES.num_layers)
    fused = "transformer.layers.0.attention.query_key_value"
    scales = torch.rand(3 * SIZES.dim, 1) if rows else torch.tensor(0.5)
    tensors[next(key for key in tensors if key.endswith(f"{fused}.weight")).replace("weight", "scale_weight")] = scales
    checkpoint = by_plan(Checkpoint.from_tensors(tensors).part("diffusion model"))
    parts = scales.chunk(3) if rows else [scales] * 3
    for name, part in zip("qkv", parts):
        key = f"transformer_blocks.0.attn1.to_{name}.scale_weight"
        assert torch.equal(checkpoint[key], part) and checkpoint.shapes[key] == tuple(part.shape)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("prefix", ["", "text_encoders.t5xxl.transformer."])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_t5_computes_with_the_stored_numbers_and_keeps_them(tmp_path, shape, prefix, spelling):
    weights = t5_weights()
    tokenizer = weights.pop("spiece_model")
    linear = {key for key in weights if ".SelfAttention." in key or ".DenseReluDense." in key}
    linear = {key for key in linear if "relative_attention_bias" not in key}
    tensors, meant = scaled(weights, linear, spelling, prefix, shape)
    found = []
    for name, content in (("t5xxl_fp8_e4m3fn_scaled", tensors), ("meant", meant)):
        save_file({**content, "spiece_model": tokenizer}, tmp_path / f"{name}.safetensors",
                  metadata={"config": json.dumps({"text_len": 12})})  # fmt: skip
        encoder = load_text_encoder(tmp_path / f"{name}.safetensors")
        found.append((kept_in_fp8(encoder.module), encoder.encode("a red car")))
    assert len(linear) == 14 and found[0][0] == linear and found[1][0] == set()
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-4)
