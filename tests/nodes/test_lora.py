"""The LoRA node: stacked, taken off, and beside the model without it."""

from __future__ import annotations

import pytest
import torch
from comfyui_trajectory.nodes import NODE_CLASS_MAPPINGS as nodes
from comfyui_trajectory.nodes import load
from comfyui_trajectory.nodes.inputs import InputError
from safetensors.torch import save_file

from .test_generation import encode, sample


@pytest.fixture
def loras(plain_host, tmp_path):
    torch.manual_seed(5)
    for i in range(2):
        down, up = torch.randn(2, 32), torch.randn(32, 2)
        key = f"diffusion_model.blocks.{i}.self_attn.v.lora_{{}}.weight"
        save_file({key.format("A"): down, key.format("B"): up}, tmp_path / f"{i}.safetensors")
    save_file({"double_blocks.0.img.lora_A.weight": torch.ones(2, 2)}, tmp_path / "other.safetensors")
    return [str(tmp_path / f"{i}.safetensors") for i in range(2)]


def add(model, name, strength=1.0):
    return nodes["TrajectoryLora"]().add(model, name, strength)[0]


def latents(tiny, model, motion):
    return sample(type(tiny)(**{**vars(tiny), "model": model}), motion)["samples"]


def test_a_lora_acts_and_the_model_without_it_gives_the_same_bits_as_before(tiny, loras):
    motion, *_ = encode(tiny)
    plain = latents(tiny, tiny.model, motion)
    with_one = add(tiny.model, loras[0])
    with_both = add(with_one, loras[1], 0.5)
    one, both = latents(tiny, with_one, motion), latents(tiny, with_both, motion)
    assert not torch.allclose(one, plain, atol=1e-4) and not torch.allclose(both, one, atol=1e-4)
    assert torch.equal(latents(tiny, tiny.model, motion), plain)
    assert torch.equal(latents(tiny, with_one, motion), one)


def test_strength_0_is_the_model_without_it(tiny, loras):
    motion, *_ = encode(tiny)
    assert torch.equal(latents(tiny, add(tiny.model, loras[0], 0.0), motion), latents(tiny, tiny.model, motion))


def test_the_models_own_size_of_step_and_path_stay(tiny, loras):
    model = add(tiny.model, loras[0])
    assert model.path == tiny.model.path and model.motion_method == "ati" and model.module is tiny.model.module


def test_a_file_for_another_model_is_told_with_the_input_and_the_keys(tiny, loras, tmp_path):
    with pytest.raises(InputError, match=r"^lora_name: .*other\.safetensors is a LoRA for another.*double_blocks"):
        add(tiny.model, str(tmp_path / "other.safetensors"))
    with pytest.raises(InputError, match=r"^lora_name: 'gone\.safetensors' is not among the model files.*loras"):
        add(tiny.model, "gone.safetensors")


def test_a_host_that_patches_weights_itself_is_given_the_factors(tiny, loras, tmp_path, monkeypatch):
    """A stand-in with the two methods that such a host has."""
    given = {}

    class Patching:
        model_path = staticmethod(lambda kind, name, node_input: name)
        low_rank_patch = staticmethod(lambda up, down, scale: (tuple(up.shape), tuple(down.shape), scale))
        with_patches = staticmethod(lambda model, patches, strength: given.update(patches) or strength)

    save_file({
        "blocks.0.self_attn.q.lora_down.weight": torch.ones(2, 32), "blocks.0.self_attn.q.alpha": torch.tensor(1.0),
        "blocks.0.self_attn.q.lora_up.weight": torch.ones(32, 2), "blocks.0.modulation.diff": torch.ones(6, 32),
    }, tmp_path / "mixed.safetensors")  # fmt: skip
    monkeypatch.setattr(load, "host", Patching())
    assert add(tiny.model, tmp_path / "mixed.safetensors", 0.3) == 0.3
    assert given["blocks.0.self_attn.q.weight"] == ((32, 2), (2, 32), 0.5)
    kind, (difference,) = given["blocks.0.modulation"]
    assert kind == "diff" and difference.shape == (1, 6, 32)


def test_a_model_and_the_same_one_with_a_lora_are_not_moved_out_for_each_other(tiny, loras, plain_host, monkeypatch):
    moved = []
    monkeypatch.setattr(plain_host, "device", lambda kind="": torch.device("meta"))
    monkeypatch.setattr(type(tiny.model), "to", lambda self, device: moved.append(str(device)))
    plain_host.ready(tiny.model)
    plain_host.ready(add(tiny.model, loras[0]))
    assert moved == ["meta", "meta"]
    plain_host.ready(tiny.model)
    plain_host.clear_device(keep=tiny.vae)
    assert moved[2:] == ["meta", "cpu"]
