"""LoRA files: every spelling gives the same sums, what does not fit is told, and nothing stays behind."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from comfyui_trajectory.models.cogvideox.transformer import CogVideoXTransformer
from comfyui_trajectory.models.common.checkpoint import CheckpointError
from comfyui_trajectory.models.common.lora import applied, read_lora, spellings
from comfyui_trajectory.models.common.ops import apply_dtype, real_weight
from comfyui_trajectory.models.easyanimate.detect import DIFFUSERS as EASYANIMATE
from comfyui_trajectory.models.wan.layouts import DIFFUSERS as WAN
from comfyui_trajectory.models.wan.transformer import WanTransformer
from safetensors.torch import save_file
from torch import nn

from .. import tiny, tiny_easyanimate, tiny_tora

LAYERS = ("blocks.0.self_attn.q", "blocks.1.self_attn.o", "blocks.1.cross_attn.k_img", "blocks.0.ffn.2",
          "time_embedding.0", "head.head")  # fmt: skip
IN_DIFFUSERS = ("blocks.0.attn1.to_q", "blocks.1.attn1.to_out.0", "blocks.1.attn2.add_k_proj", "blocks.0.ffn.net.2",
                "condition_embedder.time_embedder.linear_1", "proj_out")  # fmt: skip
KOHYA = [f"lora_unet_{name.replace('.', '_')}" for name in LAYERS]


def wan(**sizes) -> WanTransformer:
    torch.manual_seed(0)
    module = WanTransformer(replace(tiny.TRANSFORMER, **sizes)).eval().requires_grad_(False)
    module.head.head.weight.normal_(std=0.1)
    return module


def run(module: WanTransformer) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    x, y = torch.randn(1, 16, 2, 4, 4, generator=random), torch.randn(1, 20, 2, 4, 4, generator=random)
    text, image = torch.randn(1, 3, 16, generator=random), torch.randn(1, 5, 24, generator=random)
    return module(x, torch.tensor([500.0]), text, y, image)


def factors(module: nn.Module, rank: int = 3) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """(down, up) of LAYERS."""
    random = torch.Generator().manual_seed(2)
    found = {}
    for name in LAYERS:
        rows, columns = module.get_submodule(name).weight.shape
        found[name] = torch.randn(rank, columns, generator=random) / 4, torch.randn(rows, rank, generator=random) / 4
    return found


def fused(module: WanTransformer, share: float) -> torch.Tensor:
    for name, (down, up) in factors(module).items():
        module.get_submodule(name).weight += share * up @ down
    return run(module)


def save(folder: Path, tensors: dict[str, torch.Tensor], name: str = "some_lora.safetensors") -> Path:
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / name)
    return folder / name


@pytest.mark.parametrize(("names", "spelling"), [
    (LAYERS, "diffusion_model.{}.lora_{}.weight AB"),
    (LAYERS, "{}.lora_{}.default.weight AB"),
    (LAYERS, "base_model.model.{}.lora_{}.weight AB"),
    (LAYERS, "diffusion_model.{}.lora_{}.weight down up"),
    (IN_DIFFUSERS, "transformer.{}.lora_{}.weight AB"),
    (IN_DIFFUSERS, "{}.lora.{}.weight down up"),
    (KOHYA, "{}.lora_{}.weight down up"),
])  # fmt: skip
@pytest.mark.parametrize("alpha", [None, 1.5])
def test_every_spelling_gives_what_the_summed_weights_give(names, spelling: str, alpha, tmp_path) -> None:
    pattern, *roles = spelling.split()
    down_name, up_name = roles if len(roles) == 2 else roles[0]
    module, tensors = wan(), {}
    for name, (down, up) in zip(names, factors(module).values()):
        tensors |= {pattern.format(name, down_name): down, pattern.format(name, up_name): up}
        if alpha is not None:
            tensors[re.sub(r"[._]lora[._]\{\}.*", ".alpha", pattern).format(name)] = torch.tensor(alpha)
    lora = read_lora(save(tmp_path, tensors), module, WAN, strength=0.7)
    assert len(lora.patches) == len(LAYERS)
    with applied(module, [lora]):
        result = run(module)
    torch.testing.assert_close(result, fused(wan(), 0.7 * (1 if alpha is None else alpha / 3)), rtol=1e-4, atol=1e-5)


def test_added_taken_off_and_added_again_is_equal_to_the_bit(tmp_path) -> None:
    module = wan()
    tensors = {f"diffusion_model.{name}.lora_{role}.weight": value for name, pair in factors(module).items()
               for role, value in zip("AB", pair)}  # fmt: skip
    tensors["diffusion_model.blocks.0.norm3.diff"] = torch.randn(32)
    lora = read_lora(save(tmp_path, tensors), module, WAN)
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    identities = {name: id(value) for name, value in module.named_parameters()}
    plain, results = run(module), []
    for _ in range(2):
        with applied(module, [lora]):
            results.append(run(module))
        assert {name: id(value) for name, value in module.named_parameters()} == identities
        assert all(torch.equal(value, weights[name]) for name, value in module.state_dict().items())
        assert torch.equal(run(module), plain)
    assert torch.equal(*results) and not torch.allclose(results[0], plain, atol=1e-2)


def test_an_error_while_it_is_on_takes_it_off_too(tmp_path) -> None:
    module = wan()
    lora = read_lora(save(tmp_path, {"blocks.0.norm3.diff": torch.ones(32)}), module)
    before = module.blocks[0].norm3.weight
    with pytest.raises(KeyboardInterrupt), applied(module, [lora]):
        raise KeyboardInterrupt
    assert module.blocks[0].norm3.weight is before


def test_differences_of_weights_biases_norms_and_modulation_are_added(tmp_path) -> None:
    module, other = wan(), wan()
    shapes = {"blocks.0.self_attn.q.diff": (32, 32), "blocks.0.self_attn.q.diff_b": (32,), "blocks.1.norm3.diff": (32,),
              "blocks.1.norm3.diff_b": (32,), "blocks.0.diff_m": (1, 6, 32), "patch_embedding.diff": (32, 36, 1, 2, 2),
              "head.modulation.diff": (1, 2, 32)}  # fmt: skip
    tensors = {key: torch.randn(shape) / 8 for key, shape in shapes.items()}
    for key, value in tensors.items():
        name = re.sub(r"(modulation)?\.diff$", r"\1.weight", key).replace("diff_b", "bias")
        name = name.replace("diff_m", "modulation")
        other.get_parameter(name.replace("modulation.weight", "modulation")).add_(value)
    kijais = {f"diffusion_model.{key}": value for key, value in tensors.items()}
    with applied(module, [read_lora(save(tmp_path, kijais), module, WAN)]):
        result = run(module)
    torch.testing.assert_close(result, run(other), rtol=1e-4, atol=1e-5)


def test_a_convolutions_low_rank_addition_is_understood(tmp_path) -> None:
    module, other = wan(), wan()
    down, up = torch.randn(2, 36, 1, 2, 2), torch.randn(32, 2, 1, 1, 1)
    path = save(tmp_path, {"patch_embedding.lora_down.weight": down, "patch_embedding.lora_up.weight": up})
    other.patch_embedding.weight += (up.flatten(1) @ down.flatten(1)).reshape(32, 36, 1, 2, 2)
    with applied(module, [read_lora(path, module)]):
        torch.testing.assert_close(run(module), run(other), rtol=1e-4, atol=1e-5)


def test_several_are_added_up_and_strength_0_is_none(tmp_path) -> None:
    module = wan()
    pairs = list(factors(module).items())
    one, two = (
        read_lora(save(tmp_path, {f"{name}.lora_{role}.weight": value for name, pair in part for role, value in
                                  zip("AB", pair)}, f"{i}.safetensors"), module, strength=1.0)
        for i, part in enumerate((pairs[:4], pairs[2:]))
    )  # fmt: skip
    with applied(module, [one, two, replace(one, strength=-1.0)]):
        both = run(module)
    with applied(module, [two]):
        torch.testing.assert_close(both, run(module), rtol=1e-4, atol=1e-5)
    with applied(module, [replace(one, strength=0.0)]):
        assert torch.equal(run(module), run(wan()))


@pytest.mark.parametrize("storage", [torch.float8_e4m3fn, torch.bfloat16])
def test_weights_in_fp8_and_16_bit_are_added_to_without_being_rounded_again(storage, tmp_path) -> None:
    module = apply_dtype(wan(), storage, torch.float32 if storage == torch.float8_e4m3fn else storage)
    other = wan().to(module.head.head.weight.dtype)
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            other.get_submodule(name).weight.copy_(real_weight(layer, torch.float32))
    tensors = {f"{name}.lora_{role}.weight": value for name, pair in factors(wan()).items()
               for role, value in zip("AB", pair)}  # fmt: skip
    lora = read_lora(save(tmp_path, tensors), module)
    stored = module.blocks[0].self_attn.q.weight.clone()
    if storage == torch.bfloat16:
        with applied(module, [lora]):
            assert run_in(module, storage).dtype == storage
    else:
        with applied(module, [lora]):
            torch.testing.assert_close(run(module), fused(other, 1.0), rtol=1e-4, atol=1e-4)
    assert torch.equal(module.blocks[0].self_attn.q.weight.view(torch.uint8), stored.view(torch.uint8))


def run_in(module: WanTransformer, dtype: torch.dtype) -> torch.Tensor:
    x, y = torch.randn(1, 16, 2, 4, 4, dtype=dtype), torch.randn(1, 20, 2, 4, 4, dtype=dtype)
    return module(x, torch.tensor([500.0]), torch.randn(1, 3, 16, dtype=dtype), y)


def test_cogvideox_is_read_in_diffusers_and_kohyas_spelling(tmp_path) -> None:
    module = CogVideoXTransformer(tiny_tora.TRANSFORMER)
    down, up = torch.randn(2, 32), torch.randn(32, 2)
    for i, (base, roles) in enumerate((("transformer.transformer_blocks.1.attn1.to_out.0.lora_{}.weight", "AB"),
                                       ("lora_unet__transformer_blocks_1_attn1_to_out_0.lora_{}.weight",
                                        ("down", "up")))):  # fmt: skip
        path = save(tmp_path, {base.format(role): value for role, value in zip(roles, (down, up))}, f"{i}.safetensors")
        assert set(read_lora(path, module).patches) == {"transformer_blocks.1.attn1.to_out.0.weight"}


def test_easyanimate_is_read_in_the_releases_and_in_diffusers_spelling(tmp_path) -> None:
    module = tiny_easyanimate.transformer("t2v")
    down, up = torch.randn(2, 32), torch.randn(32, 2)
    for i, (base, roles) in enumerate((("lora_unet__transformer_blocks_0_attn2_to_q.lora_{}.weight", ("down", "up")),
                                       ("transformer.transformer_blocks.0.attn1.add_q_proj.lora_{}.weight",
                                        "AB"))):  # fmt: skip
        path = save(tmp_path, {base.format(role): value for role, value in zip(roles, (down, up))}, f"{i}.safetensors")
        assert set(read_lora(path, module, EASYANIMATE).patches) == {"transformer_blocks.0.attn2.to_q.weight"}


def test_no_two_parameters_of_a_family_are_spelled_alike() -> None:
    for module in (wan(), CogVideoXTransformer(tiny_tora.TRANSFORMER), tiny_easyanimate.transformer("inp")):
        assert len(spellings(module)) == len(list(module.named_parameters()))


def pair(name: str, rows: int = 32, columns: int = 32) -> dict[str, torch.Tensor]:
    return {f"{name}.lora_down.weight": torch.ones(2, columns), f"{name}.lora_up.weight": torch.ones(rows, 2)}


@pytest.mark.parametrize(("tensors", "message"), [
    (pair("double_blocks.0.img_attn.qkv"), r"other\.safetensors is a LoRA for another model.*double_blocks\.0"),
    (pair("blocks.0.self_attn.q", 64, 64), r"other\.safetensors is a LoRA for a model of another size.*self_attn\.q"),
    ({"weight": torch.ones(2)}, r"other\.safetensors is not a LoRA.*weight.*models/loras"),
    ({"blocks.0.self_attn.q.lora_up.weight": torch.ones(32, 2)}, "only a part of blocks.0.self_attn.q.weight.*down"),
    (pair("blocks.0.self_attn.q") | {"blocks.0.self_attn.q.lora_up.weight": torch.ones(32, 3)}, "ranks 2 and 3"),
    ({"blocks.0.self_attn.q.lokr_w1": torch.ones(2, 2)}, "another kind of addition than a plain LoRA"),
])  # fmt: skip
def test_what_does_not_fit_is_an_error_that_names_file_and_keys(tensors, message: str, tmp_path) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_lora(save(tmp_path, tensors, "other.safetensors"), wan(), WAN)


def test_single_layers_that_do_not_fit_are_left_out_and_named(tmp_path, caplog) -> None:
    tensors = pair("blocks.0.self_attn.q") | pair("blocks.0.self_attn.k") | pair("blocks.0.cross_attn.foo")
    tensors |= {"patch_embedding.diff": torch.ones(32, 16, 1, 2, 2)}
    lora = read_lora(save(tmp_path, tensors), wan(), WAN)
    assert set(lora.patches) == {"blocks.0.self_attn.q.weight", "blocks.0.self_attn.k.weight"}
    assert "2 keys for layers that this model does not have" in caplog.text and "cross_attn.foo" in caplog.text
    assert "patch_embedding.weight ([32, 16, 1, 2, 2] to [32, 36, 1, 2, 2])" in caplog.text
