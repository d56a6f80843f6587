"""EasyAnimate's checkpoints in every layout, at full size on the meta device and in small on disk."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import replace

import pytest
import torch
from comfyui_trajectory.models import CheckpointError, info, load_model, load_text_encoder, load_vae
from comfyui_trajectory.models.common.checkpoint import Checkpoint
from comfyui_trajectory.models.common.registry import identify
from comfyui_trajectory.models.easyanimate import load_model as load_transformer
from comfyui_trajectory.models.easyanimate import load_text_encoder as load_qwen
from comfyui_trajectory.models.easyanimate import load_vae as load_magvit
from safetensors.torch import save_file

from ..tiny_easyanimate import (
    DEFAULTS,
    TEXT_DIM,
    TRANSFORMER,
    VAE,
    random_weights,
    text_weights,
    tokenizer,
    transformer,
)
from .test_manifests import FOLDER

LOADERS = {"diffusion model": load_transformer, "vae": load_magvit, "text encoder": load_qwen}
PREFIXES = {
    "diffusion model": ("", "model.diffusion_model.", "net.", "model.", "module."),
    "vae": ("", "vae.", "first_stage_model.", "model."),
}
VARIANTS = {"t2v": "t2v", "inp": "inp", "control": "control", "control_camera": "camera"}
MANIFESTS = {
    f"easyanimate_v51_{size}_{name}": ("diffusion model", variant)
    for size in ("7b", "12b")
    for name, variant in VARIANTS.items()
}
MANIFESTS["easyanimate_v51_vae"] = ("vae", "magvit")
EVERY_PREFIX = ("easyanimate_v51_7b_control", "easyanimate_v51_vae")  # the others: as released, and diffusers' names
needs_manifests = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the manifests ({FOLDER}) are not here")


@pytest.fixture(autouse=True)
def nothing_to_initialise(monkeypatch):
    """On the meta device it has no effect, and takes most of the time."""
    monkeypatch.setattr(torch.nn.Linear, "reset_parameters", lambda self: None)


def keys_of(name: str) -> dict[str, list[int]]:
    return json.loads(gzip.open(FOLDER / f"{name}.json.gz").read())["keys"]


def on_meta(shapes: dict, kind: str, dtypes=lambda key: torch.bfloat16):
    tensors = {key: torch.empty(shape, device="meta", dtype=dtypes(key)) for key, shape in shapes.items()}
    checkpoint = Checkpoint.from_tensors(tensors, path="easyanimate.safetensors")
    found = identify(checkpoint, kind)
    loaded = LOADERS[kind](checkpoint, found, "auto", torch.device("meta"))
    return found, loaded.module


def diffusers_name(key: str) -> str:
    """The release's name of a weight -> diffusers'."""
    key = re.sub(r"attn2\.to_([qkv])\.", r"attn1.add_\1_proj.", key)
    key = re.sub(r"attn2\.norm_([qk])\.", r"attn1.norm_added_\1.", key)
    return key.replace("attn2.to_out.0.", "attn1.to_add_out.")


@needs_manifests
@pytest.mark.parametrize("name", MANIFESTS)
def test_every_key_is_used_and_none_is_missing_in_every_spelling(name):
    kind, variant = MANIFESTS[name]
    keys = keys_of(name)
    prefixes = PREFIXES[kind] if name in EVERY_PREFIX else ("",)
    spellings = [{prefix + key: shape for key, shape in keys.items()} for prefix in prefixes]
    if kind == "diffusion model":
        spellings.append({diffusers_name(key): shape for key, shape in keys.items()})
        assert spellings[-1].keys() != keys.keys()
    for shapes in spellings:
        found, module = on_meta(shapes, kind)
        assert (found.family, found.variant) == ("easyanimate", variant)
        assert {key: list(value.shape) for key, value in module.named_parameters()} == keys


@needs_manifests
@pytest.mark.parametrize("scaled", [True, False])
def test_fp8_files_keep_their_linear_weights_in_fp8(scaled):
    keys = keys_of("easyanimate_v51_7b_control")
    linear = {key for key, shape in keys.items() if key.endswith(".weight") and len(shape) == 2 and "norm" not in key}
    shapes = keys | {key.replace(".weight", ".scale_weight"): [] for key in linear if scaled}
    _, module = on_meta(shapes, "diffusion model", lambda key: torch.float8_e4m3fn if key in linear else torch.bfloat16)
    for name, value in module.named_parameters():
        assert (value.dtype == torch.float8_e4m3fn) == (name in linear), name


@needs_manifests
@pytest.mark.parametrize("prefix", ["model.", "model.language_model.", ""])
@pytest.mark.parametrize("whole", [True, False])
def test_qwen2_vl_is_read_in_every_spelling_with_or_without_its_vision_tower(prefix, whole):
    manifest = json.loads(gzip.open(FOLDER / "easyanimate_v51_text_qwen2_vl_7b.json.gz").read())
    shapes = {key.replace("model.", prefix, 1): shape for key, shape in manifest["keys"].items()}
    if whole:
        vision = {"model.language_model.": "model.visual."}.get(prefix, "visual.")
        unused = {key.replace("visual.", vision, 1): shape for key, shape in manifest["unused_keys"].items()}
        shapes |= unused
    found, module = on_meta(shapes, "text encoder")
    config = found.config
    assert (config["hidden_size"], config["num_hidden_layers"]) == (3584, 28)
    assert (config["num_attention_heads"], config["num_key_value_heads"]) == (28, 4)
    used = {key for key in manifest["keys"] if not key.startswith("model.layers.27.") and key != "model.norm.weight"}
    assert {f"model.{key}" for key, _ in module.named_parameters()} == used, "the last layer is not kept in memory"


def test_files_of_other_versions_are_told_apart():
    def of(kind: str, shapes: dict) -> str:
        with pytest.raises(CheckpointError) as error:
            identify(
                Checkpoint.from_tensors({k: torch.empty(s, device="meta") for k, s in shapes.items()}, "x.safetensors"),
                kind,
            )
        return str(error.value)

    keys = {key: tuple(value.shape) for key, value in transformer("t2v").state_dict().items()}
    older = {key.replace("text_proj.1", "text_proj"): shape for key, shape in keys.items() if "text_proj.0" not in key}
    assert "EasyAnimate V5, which" in of("diffusion model", older | {"text_proj_t5.weight": (32, 24)})
    assert "takes 20 channels; known are 16 (t2v), 33 (inp)" in of(
        "diffusion model", keys | {"proj.weight": (32, 20, 2, 2)}
    )
    words = {key: tuple(value.shape) for key, value in text_weights().items()}
    assert "this is Qwen2.5-VL" in of("text encoder", words | {"visual.blocks.0.mlp.gate_proj.weight": (4, 4)})
    attention = "model.layers.0.self_attn."
    sizes = {f"{attention}q_proj.weight": (256, 24), f"{attention}k_proj.weight": (128, 24)}
    assert "is a EasyAnimate V5.1 text encoder" in of("vae", words | sizes)


def write_release(folder, diffusers: bool = False):
    """A release in small: folders with config.json, the transformer in two shards, the tokenizer beside."""
    torch.manual_seed(0)
    weights = transformer("control").state_dict()
    if diffusers:
        weights = {diffusers_name(key): value for key, value in weights.items()}
    names = sorted(weights)
    shards = {f"diffusion_pytorch_model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in (0, 1)}
    parts = {"transformer": shards, "vae": None, "text_encoder": None, "tokenizer": None}
    for part in parts:
        (folder / part).mkdir(parents=True)
    for name, keys in shards.items():
        save_file({key: weights[key] for key in keys}, folder / "transformer" / name)
    index = {"weight_map": {key: name for name, keys in shards.items() for key in keys}}
    (folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    config = {"_class_name": "EasyAnimateTransformer3DModel", "num_layers": 2, "mmdit_layers": 1, "in_channels": 48}
    (folder / "transformer" / "config.json").write_text(json.dumps(config))
    from comfyui_trajectory.models.easyanimate.vae import EasyAnimateVAE

    save_file(random_weights(EasyAnimateVAE(VAE)), folder / "vae" / "diffusion_pytorch_model.safetensors")
    (folder / "vae" / "config.json").write_text(
        json.dumps({"_class_name": "AutoencoderKLMagvit", "norm_num_groups": 2})
    )
    save_file(text_weights(), folder / "text_encoder" / "model.safetensors")
    tokenizer().save(str(folder / "tokenizer" / "tokenizer.json"))
    return folder


@pytest.mark.parametrize("diffusers", [False, True])
def test_the_folder_of_a_release_is_loaded_part_by_part(tmp_path, diffusers):
    folder = write_release(tmp_path / "EasyAnimateV5.1", diffusers)
    model, vae = load_model(folder), load_vae(folder)
    words = load_text_encoder(folder, config={"num_attention_heads": 2})
    assert model.variant == "control" and model.config == replace(TRANSFORMER, in_channels=48)
    assert vae.module.config.norm_num_groups == 2
    assert words.encode("a dog").shape == (256, TEXT_DIM)
    assert info(folder / "transformer")["variant"] == "control"
    torch.manual_seed(0)
    expected = transformer("control").state_dict()
    loaded = model.module.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in expected.items())


def test_what_a_header_says_of_defaults_is_used(tmp_path):
    file = tmp_path / "small.safetensors"
    save_file(transformer("t2v").state_dict(), file, metadata={"config": json.dumps({"defaults": DEFAULTS})})
    assert load_model(file).defaults["steps"] == 3
    assert (
        load_model(file, dtype="fp8_e4m3fn").module.transformer_blocks[0].ff.net[2].weight.dtype == torch.float8_e4m3fn
    )
