"""The loader and the full-size checkpoints: every key and shape of the real files, on the meta device."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from comfyui_trajectory.models.common.checkpoint import Checkpoint, assign
from comfyui_trajectory.models.common.registry import identify
from comfyui_trajectory.models.wan import image, text
from comfyui_trajectory.models.wan.transformer import WanTransformer
from comfyui_trajectory.models.wan.vae import WanVAE

FOLDER = Path(__file__).parents[3] / "shared" / "golden" / "manifests"
PREFIXES = {
    "diffusion model": ("", "model.diffusion_model.", "model.model.", "net.", "model."),
    "vae": ("", "vae.", "first_stage_model.", "model."),
    "text encoder": ("", "text_encoders.umt5xxl.transformer.", "model."),
    "image encoder": ("", "clip_vision.", "model."),
}
MANIFESTS = {
    "wan2.1_i2v_14b_dit": "diffusion model",
    "wan2.1_t2v_14b_dit": "diffusion model",
    "wan2.1_t2v_1.3b_dit": "diffusion model",
    "comfy_wan2.1_i2v_14b_fp8_scaled": "diffusion model",
    "wan2.1_vae": "vae",
    "umt5_xxl_encoder": "text encoder",
    "comfy_umt5_xxl": "text encoder",
    "comfy_umt5_xxl_fp8_scaled": "text encoder",
    "clip_xlm_roberta_vit_h_14": "image encoder",
    "clip_xlm_roberta_vit_h_14_visual": "image encoder",
    "comfy_clip_vision_h": "image encoder",
}
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the manifests (../shared/golden/manifests) are not here")


def tensor(key: str, shape: list[int]) -> torch.Tensor:
    fp8 = key.endswith("scaled_fp8")
    return torch.empty(shape, device="meta", dtype=torch.float8_e4m3fn if fp8 else torch.float16)


def load(checkpoint: Checkpoint, kind: str) -> torch.nn.Module:
    found = identify(checkpoint, kind)
    if kind == "text encoder":
        return text.load(checkpoint, found, device="meta").module
    if kind == "image encoder":
        return image.load(checkpoint, found, device="meta").module
    with torch.device("meta"):
        module = WanTransformer(found.config) if kind == "diffusion model" else WanVAE(found.config)
    return assign(module, checkpoint.part(kind))


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_key_is_used_and_none_is_missing_in_every_spelling(name: str) -> None:
    kind = MANIFESTS[name]
    keys = json.loads(gzip.open(FOLDER / f"{name}.json.gz").read())["keys"]
    for prefix in PREFIXES[kind]:
        tensors = {prefix + key: tensor(key, shape) for key, shape in keys.items()}
        tensors |= {f"another.part.{i}": torch.empty(1, device="meta") for i in range(3)} if prefix else {}
        if prefix == "model.":
            tensors = {key: value for key, value in tensors.items() if key.startswith(prefix)}
        module = load(Checkpoint.from_tensors(tensors, path=f"{name} as {prefix or 'it is'}"), kind)
        shapes = {key: list(value.shape) for key, value in module.named_parameters()}
        if kind in ("diffusion model", "vae"):  # official names: the module's own
            expected = {key: shape for key, shape in keys.items() if "scale" not in key}
            assert shapes == expected


def test_all_in_one_files_give_each_part_its_own_tensors() -> None:
    parts = {"wan2.1_t2v_1.3b_dit": "model.diffusion_model.", "wan2.1_vae": "vae.",
             "comfy_umt5_xxl_fp8_scaled": "text_encoders.umt5xxl.transformer."}  # fmt: skip
    tensors = {}
    for name, prefix in parts.items():
        keys = json.loads(gzip.open(FOLDER / f"{name}.json.gz").read())["keys"]
        tensors |= {prefix + key: tensor(key, shape) for key, shape in keys.items()}
    for name in parts:
        load(Checkpoint.from_tensors(tensors, path="all in one"), MANIFESTS[name])
