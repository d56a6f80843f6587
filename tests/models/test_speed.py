"""What makes a run faster: exact ways give the exact result, inexact ones say what they left out, none is on by
itself."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace

import pytest
import torch
from comfyui_trajectory.models import ModelError, Motion, Options, TextConditioning, load_model, sample
from comfyui_trajectory.models.common import attention as backends
from comfyui_trajectory.models.common import compiled
from comfyui_trajectory.models.common.ops import ScaledLinear, store_fp8, use_fp8_products
from comfyui_trajectory.models.common.step_cache import EasyCache, StepCache
from comfyui_trajectory.models.common.swap import Placement
from torch import nn

from .. import tiny, tiny_easyanimate, tiny_tora

FILES = {
    "wan": (tiny.write_tiny, "tiny_transformer.safetensors", 3, 16),
    "cogvideox": (tiny_tora.write_tiny_tora, tiny_tora.T2V, tiny_tora.TEXT_LENGTH, 16),
    "easyanimate": (tiny_easyanimate.write_tiny, tiny_easyanimate.transformer_file("control"), 4, 24),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("models")
    for write, *_ in FILES.values():
        write(made)
    return made / "diffusion_models"


def load(folder, family: str, **options):
    return load_model(folder / FILES[family][1], options=Options(**options))


def run(model, family: str, steps: int = 4, lengths: tuple[int, int] | None = None, **given) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    _, _, length, width = FILES[family]
    lengths = lengths or (length, length)
    text = TextConditioning(*(torch.randn(1, count, width, generator=random) for count in lengths))
    frames = 9 if family == "cogvideox" else 5
    _, shapes = model.example_inputs(32, 32, frames)
    inputs = {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}
    motion = Motion(model.family, 32, 32, frames, inputs, inputs)
    given = {"cfg": 3.0, "shift": 3.0, "scheduler": model.schedulers[0], "seed": 5, **given}
    return sample(model, text, motion, steps=steps, **given)


@pytest.mark.parametrize("family", FILES)
def test_batched_guidance_gives_what_one_after_the_other_gives(folder, family) -> None:
    apart, at_once = (run(load(folder, family, guidance=way), family) for way in ("sequential", "batched"))
    torch.testing.assert_close(at_once, apart, rtol=1e-4, atol=1e-4)


def test_prompts_of_different_lengths_are_padded_where_the_model_pads_and_else_computed_apart(folder, caplog) -> None:
    for family, said in (("wan", False), ("easyanimate", True)):
        caplog.clear()
        apart, at_once = (
            run(load(folder, family, guidance=way), family, lengths=(4, 2)) for way in ("sequential", "batched")
        )
        torch.testing.assert_close(at_once, apart, rtol=1e-4, atol=1e-4)
        assert ("one after the other" in caplog.text) == said


@pytest.mark.parametrize("way", ["sequential", "batched"])
def test_batched_guidance_asks_the_model_once_a_step_and_cfg_1_half_as_much(folder, way) -> None:
    model = load(folder, "wan", guidance=way)
    sizes = []
    model.module.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    run(model, "wan", steps=3)
    assert sizes == ([1] * 6 if way == "sequential" else [2] * 3)
    sizes.clear()
    run(model, "wan", steps=3, cfg=1.0)
    assert sizes == [1] * 3


def test_text_keys_and_values_are_computed_once_a_prompt_and_give_the_same_bits(folder, monkeypatch) -> None:
    model = load(folder, "wan")
    calls = []
    layer = model.module.blocks[1].cross_attn
    for part in (layer.k, layer.v, layer.k_img, layer.v_img, model.module.text_embedding, model.module.img_emb):
        part.register_forward_hook(lambda *_: calls.append(1))
    kept = run(model, "wan")
    assert len(calls) == 2 * 6
    monkeypatch.setattr("comfyui_trajectory.models.wan.system.KEEP_BELOW", 0)
    calls.clear()
    assert torch.equal(run(model, "wan"), kept) and len(calls) == 2 * 6 * 4


def test_trajectory_features_are_extracted_once_for_both_halves(folder) -> None:
    model = load(folder, "cogvideox")
    calls = []
    model.module.traj_extractor.register_forward_hook(lambda *_: calls.append(1))
    run(model, "cogvideox")
    assert len(calls) == 1


@pytest.mark.parametrize("family", FILES)
def test_teacache_skips_the_blocks_and_says_how_many_steps(folder, family, caplog) -> None:
    exact = run(load(folder, family), family, steps=10)
    model = load(folder, family, step_cache="teacache", step_cache_threshold=1e9)
    model.defaults["step_cache_coefficients"] = [0, 0, 0, 1.0, 0.0]
    calls = []
    getattr(model.module, model.blocks)[1].register_forward_hook(lambda *_: calls.append(1))
    with caplog.at_level(logging.INFO):
        skipping = run(model, family, steps=10)
    left = model.first_steps + 1
    assert len(calls) == 2 * left and f"{10 - left} of 10 steps were skipped" in caplog.text
    assert torch.isfinite(skipping).all() and not torch.equal(skipping, exact)


@pytest.mark.parametrize(("family", "change", "first"), [
    ("wan", {"dim": 5120}, 2.57151496e05), ("wan", {"dim": 5120, "path": "Wan2_1-I2V-14B-720P_fp8"}, 8.10705460e03),
    ("wan", {"dim": 1536, "model_type": "t2v"}, -5.21862437e04), ("wan", {"dim": 1536}, None),
    ("cogvideox", {"num_attention_heads": 48, "attention_head_dim": 64}, -1.53880483e03),
    ("cogvideox", {"num_attention_heads": 48, "attention_head_dim": 64, "patch_size_t": 2}, 2.50210439e02),
    ("easyanimate", {"num_layers": 36, "mmdit_layers": 18}, 1.07862322),
])  # fmt: skip
def test_teacaches_figures_are_chosen_by_the_file(folder, family, change, first) -> None:
    from dataclasses import replace
    from pathlib import Path

    model = load(folder, family)
    model.defaults.pop("step_cache_coefficients", None)
    model.path = Path(change.pop("path", "model"))
    model.config = replace(model.config, **change)
    if first is None:
        with pytest.raises(ModelError, match="TeaCache knows no figures of model.*easycache"):
            model.step_cache(0.1, 10)
    else:
        assert model.step_cache(0.1, 10).expected.coeffs[0] == first


def test_the_first_steps_that_a_family_wants_always_run() -> None:
    cache = StepCache([0, 0, 0, 1, 0], 1e9, steps=9, first=5)
    ran = [not cache.skips(torch.full((4,), 1.0 + step)) for step in range(9)]
    assert ran == [True] * 5 + [False] * 3 + [True] and cache.skipped == 3


@pytest.mark.parametrize("family", FILES)
def test_easycache_leaves_steps_out_of_any_model_and_a_tiny_threshold_none(folder, family, caplog) -> None:
    exact = run(load(folder, family), family, steps=10)
    assert torch.equal(run(load(folder, family, step_cache="easycache", step_cache_threshold=1e-9), family, 10), exact)
    model = load(folder, family, step_cache="easycache", step_cache_threshold=1e9)
    calls = []
    model.module.register_forward_hook(lambda *_: calls.append(1))
    with caplog.at_level(logging.INFO):
        bold = run(model, family, steps=10)
    assert len(calls) == 2 * 3 and "7 of 10 steps were skipped" in caplog.text
    assert not torch.equal(bold, exact)


@pytest.mark.parametrize("way", ["teacache", "easycache"])
def test_the_steps_in_which_the_motion_begins_and_ends_to_act_are_never_skipped(folder, way, monkeypatch) -> None:
    model = load(folder, "cogvideox", step_cache=way, step_cache_threshold=1e9)
    model.defaults["step_cache_coefficients"] = [0, 0, 0, 1.0, 0.0]
    calls, block = [], model.module.transformer_blocks[0]
    block.register_forward_hook(lambda *_: calls.append(1))
    run(model, "cogvideox", steps=10, cfg=1.0)
    always = len(calls)
    calls.clear()
    plain: dict = {}
    monkeypatch.setattr(Motion, "at", lambda self, share: self.inputs if 0.3 < share < 0.7 else plain)
    run(model, "cogvideox", steps=10, cfg=1.0)
    assert len(calls) == always + 2


def test_easycache_expects_the_change_that_a_linear_model_really_has() -> None:
    """v = 2x: the rate is 2, so a step of x by d changes v by 2d, which adds up as a share of v."""
    cache, ran = EasyCache(0.11, 20), []
    for step in range(12):
        x = torch.full((8,), 1.0 + 0.04 * step)
        skipped = cache.skips(x)
        ran.append(not skipped)
        if skipped:
            (v,) = cache.recall(x)
            assert (v - 2 * x).abs().max() < 0.1 * 2
        else:
            cache.remember(x, [2 * x])
    assert ran[:3] == [True] * 3 and ran[3:10] == [False, False, True, False, False, False, True]


def test_nothing_is_on_by_itself(folder) -> None:
    assert Options().changed() == {}
    assert torch.equal(run(load(folder, "wan"), "wan"), run(load_model(folder / FILES["wan"][1]), "wan"))


@pytest.mark.parametrize(("given", "message"), [
    ({"attention": "fast"}, "attention is 'fast'.*sageattention"), ({"blocks_on_device": 1}, "0 .all., or 2 and more"),
    ({"prefetch": 0}, "prefetch is 0"), ({"step_cache_threshold": 0.0}, "above 0"), ({"storage": "int4"}, "storage"),
])  # fmt: skip
def test_options_out_of_range_are_refused(given, message) -> None:
    with pytest.raises(ModelError, match=message):
        Options(**given)


@pytest.mark.parametrize("name", ["sageattention", "flash-attn"])
def test_a_backend_that_cannot_run_here_is_replaced_and_told_once(folder, name, caplog) -> None:
    model = load(folder, "wan", attention=name)
    assert torch.equal(run(model, "wan"), run(load(folder, "wan"), "wan"))
    assert caplog.text.count(f"{name} cannot be used: it runs on NVIDIA GPUs only, the model is on cpu") == 1


def test_a_backend_that_is_not_installed_or_broken_says_how_to_get_it(monkeypatch, caplog) -> None:
    cuda, half = torch.device("cuda"), torch.float16
    for broken in (None, "broken"):
        monkeypatch.setitem(sys.modules, "sageattention", broken and SimpleNamespace())
        caplog.clear()
        assert backends.choose("sageattention", cuda, half) == ("sdpa", backends.attention)
        assert "pip install sageattention" in caplog.text
    assert backends.choose("flash-attn", cuda, torch.float32)[0] == "sdpa" and "16 bit only" in caplog.text


def test_backends_are_called_in_their_own_layouts(monkeypatch) -> None:
    """Stand-ins with the documented layouts: [batch, heads, tokens, dim] for sage, [batch, tokens, heads, dim] for
    flash."""
    def sageattn(q, k, v, tensor_layout, is_causal):
        assert tensor_layout == "HND" and not is_causal
        return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    def flash_attn_func(q, k, v):
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)

    monkeypatch.setitem(sys.modules, "flash_attn_interface", None)
    monkeypatch.setitem(sys.modules, "sageattention", SimpleNamespace(sageattn=sageattn))
    monkeypatch.setitem(sys.modules, "flash_attn", SimpleNamespace(flash_attn_func=flash_attn_func))
    q, k, v = torch.randn(1, 4, 10, 8), torch.randn(1, 4, 6, 8), torch.randn(1, 4, 6, 8)
    for name in ("sageattention", "flash-attn"):
        chosen, attend = backends.choose(name, torch.device("cuda"), torch.bfloat16)
        assert chosen == name
        torch.testing.assert_close(attend(q, k, v), backends.attention(q, k, v))


def test_nan_of_a_backend_is_noticed_and_the_step_computed_again(folder, monkeypatch, caplog) -> None:
    calls = []

    def breaks_at_the_second_step(q, k, v):
        calls.append(1)
        result = backends.attention(q, k, v)
        return result if len(calls) <= 12 else result * float("nan")

    from comfyui_trajectory.models.common import video

    expected = run(load(folder, "wan"), "wan")
    monkeypatch.setattr(video, "choose", lambda *_: ("sageattention", breaks_at_the_second_step))
    model = load(folder, "wan")
    assert torch.equal(run(model, "wan"), expected)
    assert caplog.text.count("sageattention gave NaN") == 1
    assert model.module.blocks[0].self_attn.attend_by is backends.attention


def test_fp8_products_are_near_the_widened_ones() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(64, 48), nn.Linear(48, 30)).requires_grad_(False)
    x = torch.randn(2, 10, 64)
    store_fp8(layers, keep=())
    expected = layers[0](x)
    assert use_fp8_products(layers) == 1  # 30 rows are no multiple of 16
    assert isinstance(layers[0], ScaledLinear)
    assert (layers[0](x) - expected).norm() < 0.04 * expected.norm() and layers[0](x).shape == (2, 10, 48)


def test_where_there_are_no_fp8_products_it_is_told(folder, caplog) -> None:
    assert torch.equal(run(load(folder, "wan", fp8_products=True), "wan"), run(load(folder, "wan"), "wan"))
    assert "cpu has none; fp8 weights are widened on use" in caplog.text


def test_storage_of_the_options_is_used_in_place_of_the_loaders(folder) -> None:
    model = load_model(folder / FILES["wan"][1], dtype="fp32", options=Options(storage="fp8_e4m3fn"))
    block = model.module.blocks[0]
    assert block.self_attn.q.weight.dtype == torch.float8_e4m3fn
    assert block.self_attn.q.bias.dtype == model.module.head.head.weight.dtype == torch.float32


def test_compiled_blocks_give_nearly_the_same(folder, monkeypatch) -> None:
    asked, real = [], torch.compile

    def compile(forward):
        asked.append(forward)
        return real(forward, backend="eager")

    monkeypatch.setattr(compiled.torch, "compile", compile)
    model = load(folder, "wan", compile=True)
    torch.testing.assert_close(run(model, "wan"), run(load(folder, "wan"), "wan"), rtol=1e-4, atol=1e-5)
    assert len(asked) == 2


def test_where_compiling_fails_blocks_run_as_they_are_and_one_line_says_so(folder, monkeypatch, caplog) -> None:
    def compile(forward):
        def fails(*_, **__):
            raise torch._dynamo.exc.TorchDynamoException("no compiler")

        return fails

    monkeypatch.setattr(compiled.torch, "compile", compile)
    assert torch.equal(run(load(folder, "wan", compile=True), "wan"), run(load(folder, "wan"), "wan"))
    assert caplog.text.count("torch.compile does not work here") == 1


def test_swap_says_that_it_has_nothing_to_do_on_a_cpu(folder, caplog) -> None:
    with caplog.at_level(logging.INFO):
        model = load(folder, "wan", blocks_on_device=2)
    assert model.swap is None and "nothing to do" in caplog.text


def test_a_lora_and_skipped_steps_go_with_swapped_blocks(tmp_path) -> None:
    """Through `settle`, as a GPU would have it, with host memory in the place of the GPU's."""
    from dataclasses import replace

    from comfyui_trajectory.models.common.lora import read_lora
    from comfyui_trajectory.models.wan.system import WanVideoModel
    from comfyui_trajectory.models.wan.transformer import WanTransformer
    from safetensors.torch import save_file

    torch.manual_seed(0)
    module = WanTransformer(replace(tiny.TRANSFORMER, num_layers=5)).eval().requires_grad_(False)
    module.head.head.weight.normal_(std=0.1)
    model = WanVideoModel(module, module.config, tmp_path / "tiny_ati.safetensors", {"step_cache_coefficients": [1, 0]})
    key = "blocks.3.self_attn.q.lora_{}.weight"
    save_file({key.format("A"): torch.randn(2, 32), key.format("B"): torch.randn(32, 2)}, tmp_path / "l.safetensors")
    options = Options(step_cache="teacache", step_cache_threshold=1.0)
    lora = read_lora(tmp_path / "l.safetensors", module)
    expected = run(model.with_lora(lora).settle(options), "wan", steps=9)
    plain = run(model.settle(options), "wan", steps=9)
    model.settle(replace(options, blocks_on_device=2), Placement())
    assert torch.equal(run(model.with_lora(lora), "wan", steps=9), expected)
    assert torch.equal(run(model, "wan", steps=9), plain) and not torch.equal(plain, expected)
    assert model.swap.counts.most == 3 and set(model.swap.counts.moves) == {1, 2, 3, 4}
