"""What does not belong together stops before sampling, with a sentence that names both files."""

from __future__ import annotations

from itertools import permutations
from types import SimpleNamespace

import pytest
import torch
from comfyui_trajectory.models import embedded
from comfyui_trajectory.nodes import NODE_CLASS_MAPPINGS as nodes
from comfyui_trajectory.nodes import sample as sample_module
from comfyui_trajectory.nodes.host import host
from comfyui_trajectory.nodes.inputs import InputError

from .. import tiny as wan
from .. import tiny_easyanimate as easyanimate
from .. import tiny_tora as tora

FILES = {
    "wan": (wan.FILES["diffusion_models"], wan.FILES["vae"], wan.FILES["text_encoders"]),
    "cogvideox": (tora.T2V, tora.VAE_FILE, tora.TEXT_FILE),
    "easyanimate": (easyanimate.transformer_file("control"), easyanimate.VAE_FILE, easyanimate.TEXT_FILE),
}


@pytest.fixture(scope="module")
def systems(tmp_path_factory):
    """Model, VAE, text and motion of each system."""
    folder = tmp_path_factory.mktemp("models")
    for module, write in ((wan, "write_tiny"), (tora, "write_tiny_tora"), (easyanimate, "write_tiny")):
        getattr(module, write)(folder)
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRAJECTORY_MODELS", str(folder))
        patch.setenv("TRAJECTORY_DEVICE", "cpu")
        tracks = nodes["TrajectoryFromCoordinates"]().read("[[4, 16], [28, 20]]", 32, 32)[0]
        for name, (model, vae, words) in FILES.items():
            model = nodes["TrajectoryModelLoader"]().load(model)[0]
            vae = nodes["TrajectoryVAELoader"]().load(vae)[0]
            words = nodes["TrajectoryTextEncoderLoader"]().load(words)[0]
            (text,) = nodes["TrajectoryTextEncode"]().encode(words, "a", "")
            motion, *_ = encode(model, vae, tracks)
            found[name] = SimpleNamespace(model=model, vae=vae, words=words, text=text, motion=motion, tracks=tracks)
    return found


def encode(model, vae, tracks):
    picture = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    return nodes["TrajectoryEncode"]().encode(model, vae, 32, 32, 9, tracks=tracks, start_image=picture)


@pytest.fixture
def untouched(monkeypatch):
    """Fails where a model is brought to its device or sampled with."""

    def touched(*_, **__):
        pytest.fail("the model was loaded for sampling")

    monkeypatch.setattr(host, "ready", touched)
    monkeypatch.setattr(sample_module, "sample", touched)


def refused(one, other, what, model, text, motion):
    with pytest.raises(InputError) as raised:
        nodes["TrajectorySampler"]().sample(model, text, motion)
    names = {"motion": other.model.path.name, "text": other.words.path.name}
    assert one.model.path.name in str(raised.value) and names[what] in str(raised.value), raised.value


@pytest.mark.parametrize(("one", "other"), list(permutations(FILES, 2)))
def test_a_vae_of_another_system_is_named_with_the_model(systems, one, other):
    with pytest.raises(InputError) as raised:
        encode(systems[one].model, systems[other].vae, systems[one].tracks)
    assert systems[one].model.path.name in str(raised.value) and systems[other].vae.path.name in str(raised.value)


@pytest.mark.parametrize(("one", "other"), list(permutations(FILES, 2)))
def test_a_motion_of_another_system_is_named_with_the_model(systems, untouched, one, other):
    one, other = systems[one], systems[other]
    refused(one, other, "motion", one.model, one.text, other.motion)


@pytest.mark.parametrize(("one", "other"), [
    ("wan", "easyanimate"), ("cogvideox", "easyanimate"), ("easyanimate", "wan"), ("easyanimate", "cogvideox"),
])  # fmt: skip
def test_words_of_another_width_are_named_with_the_model(systems, untouched, one, other):
    one, other = systems[one], systems[other]
    refused(one, other, "text", one.model, other.text, one.motion)


def test_a_vae_of_other_latents_of_the_same_system_is_named_with_the_model(systems):
    vae = nodes["TrajectoryVAELoader"]().load(str(embedded("vae")))[0]
    with pytest.raises(InputError, match="ati_vae.safetensors makes other latents than tiny_transformer.safetensors"):
        encode(systems["wan"].model, vae, systems["wan"].tracks)


def test_a_motion_with_image_tokens_of_another_width_is_named_with_the_model(systems, untouched):
    other = nodes["TrajectoryModelLoader"]().load(str(embedded("model")))[0]
    motion = systems["wan"].motion
    inputs = {**motion.inputs, "clip_fea": torch.zeros(1, 5, wan.CLIP_DIM)}
    motion = type(motion)(**{**vars(motion), "inputs": inputs})
    text = type(systems["wan"].text)(torch.zeros(1, 3, 32), torch.zeros(1, 3, 32))
    with pytest.raises(InputError, match="tiny_transformer.safetensors with image .* ati_transformer.safetensors"):
        nodes["TrajectorySampler"]().sample(other, text, motion)
