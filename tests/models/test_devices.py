"""Tensors of two devices never meet: a GPU that is made up refuses it, so that every machine can tell."""

from __future__ import annotations

import pytest
import torch
import torch._dynamo  # before there is a GPU: it asks for one when it is imported  # noqa: F401
from comfyui_trajectory.models import load_text_encoder
from comfyui_trajectory.nodes import NODE_CLASS_MAPPINGS as nodes
from comfyui_trajectory.nodes.host import host

from .. import tiny, tiny_easyanimate, tiny_tora
from .make_believe import MakeBelieve, OnGpu, same_kind

EA = tiny_easyanimate
SYSTEMS = {
    "ati": (*[tiny.FILES[kind] for kind in ("diffusion_models", "vae", "text_encoders")], True),
    "tora t2v": (tiny_tora.T2V, tiny_tora.VAE_FILE, tiny_tora.TEXT_FILE, False),
    "tora i2v": (tiny_tora.I2V, tiny_tora.VAE_FILE, tiny_tora.TEXT_FILE, True),
    **{f"easyanimate {variant}": (EA.transformer_file(variant), EA.VAE_FILE, EA.TEXT_FILE, variant != "t2v")
       for variant in EA.CHANNELS},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("models")
    tiny.write_tiny(made), tiny_tora.write_tiny_tora(made), EA.write_tiny(made)
    for file in (made / "text_encoders").rglob("*.safetensors"):
        if "without" not in file.name:
            load_text_encoder(file)  # transformers' modules are imported before there is a GPU
    return made


@pytest.fixture
def gpu(folder, tmp_path, monkeypatch):
    """Lets the block have a GPU that is made up."""
    monkeypatch.setenv("TRAJECTORY_MODELS", str(folder))
    monkeypatch.setenv("TRAJECTORY_DEVICE", "cuda")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(host, "make_bar", None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (8, 0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (80 << 30, 80 << 30))
    monkeypatch.setattr(torch, "_has_compatible_shallow_copy_type", same_kind)
    return MakeBelieve()


def test_the_make_believe_gpu_refuses_what_a_real_one_does(gpu) -> None:
    with gpu:
        there, here = torch.ones(2, device="cuda"), torch.ones(2)
        assert isinstance(there, OnGpu) and (there + 1).device.type == "cuda" and (there + there).cpu().sum() == 4
        for mixed in (lambda: there + here, lambda: torch.cat([here, there]), lambda: torch.where(here > 0, there, 0)):
            with pytest.raises(RuntimeError, match="same device"):
                mixed()
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        module = torch.nn.Linear(2, 2).requires_grad_(False).to("cuda")
        assert module.weight.device.type == "cuda" and module(there).device.type == "cuda"


@pytest.mark.parametrize("dtype", ["auto", "fp32"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_generation_keeps_to_the_device(gpu, name, dtype) -> None:
    model_file, vae_file, text_file, pictured = SYSTEMS[name]
    with gpu:
        (model,) = nodes["TrajectoryModelLoader"]().load(model_file, dtype)
        (vae,) = nodes["TrajectoryVAELoader"]().load(vae_file, dtype)
        (text_encoder,) = nodes["TrajectoryTextEncoderLoader"]().load(text_file, dtype)
        (text,) = nodes["TrajectoryTextEncode"]().encode(text_encoder, "a dog runs", "the sea")
        given = {"start_image": torch.rand(1, 40, 40, 3)} if pictured else {}
        if name == "ati":
            file = tiny.FILES["clip_vision"]
            (given["image_encoder"],) = nodes["TrajectoryImageEncoderLoader"]().load(file, dtype)
        if name.endswith("camera"):
            given["camera_poses"] = nodes["TrajectoryCameraPoses"]().make(move_1="Pan Left")[0]
        elif name in ("ati", "tora t2v", "tora i2v", "easyanimate control"):
            (given["tracks"],) = nodes["TrajectoryFromCoordinates"]().read("[[4, 16], [28.5, 20.25]]", 40, 40)
        motion, shown, _ = nodes["TrajectoryEncode"]().encode(model, vae, **given)
        for more in ({}, {"cfg": 1.0, "cfg_rescale": 0.5}):
            (latent,) = nodes["TrajectorySampler"]().sample(model, text, motion, steps=2, **more)
        (again,) = nodes["TrajectorySampler"]().sample(model, text, motion, steps=2, latent=latent, denoise=0.5)
        whole, tiled = (nodes["TrajectoryDecode"]().decode(vae, again, tile)[0] for tile in (0, 32))
    assert model.module is not None and next(vae.module.parameters()).device.type == "cuda"
    for result in (shown, latent["samples"], again["samples"], whole, tiled):
        assert not isinstance(result, OnGpu) and result.isfinite().all()
