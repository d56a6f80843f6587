"""What a model will take is told from its header, and is what it then takes."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from comfyui_trajectory.models import ModelError, Options, load_model, predict_memory
from comfyui_trajectory.models.cogvideox.transformer import CogVideoXTransformer
from comfyui_trajectory.models.common.memory import OVERHEAD, SCATTERED, LiveBytes, Memory, advice, suggestions
from comfyui_trajectory.models.easyanimate.config import EasyAnimateConfig
from comfyui_trajectory.models.easyanimate.transformer import EasyAnimateTransformer
from comfyui_trajectory.models.wan.config import WanConfig
from comfyui_trajectory.models.wan.transformer import WanTransformer
from safetensors.torch import save_file

from .. import tiny_tora
from .peak_memory import in_a_process, needs_linux

SIZE = {"width": 384, "height": 256, "frames": 49}  # 13 x 16 x 24 tokens
# Large enough that activations, and not the interpreter, are what grows.
MODELS = {
    "wan": (WanTransformer, WanConfig(dim=512, ffn_dim=1408, num_heads=4, num_layers=2, text_dim=64, clip_dim=64)),
    "cogvideox": (CogVideoXTransformer, replace(
        tiny_tora.TRANSFORMER, num_attention_heads=8, attention_head_dim=64, sample_width=32, sample_height=32,
        sample_frames=49, traj_extractor_channels=32,
    )),
    "easyanimate": (EasyAnimateTransformer, EasyAnimateConfig(
        num_attention_heads=8, num_layers=2, mmdit_layers=1, text_embed_dim=64, time_embed_dim=64,
    )),
}  # fmt: skip
# The steps of a sampler, and how far they raise the peak of resident memory.
MEASURE = """
import json, sys, torch
from types import SimpleNamespace
from comfyui_trajectory.models import Options, load_model
from comfyui_trajectory.models.common.guidance import Guidance
from peak_memory import growth
torch.set_num_threads(1)
with torch.no_grad():
    model = load_model(sys.argv[1], options=Options(**json.loads(sys.argv[2])))
    def steps(count, width, height, frames):
        text, inputs = model.example_inputs(width, height, frames)
        x, t = torch.randn(1, *model.latent_shape(width, height, frames)), torch.full((1,), 500.0)
        cast = {name: torch.zeros(shape) for name, shape in inputs.items()}
        prompts = SimpleNamespace(positive=torch.zeros(1, *text), negative=torch.zeros(1, *text))
        motion = SimpleNamespace(width=width, height=height, frames=frames)
        guided = Guidance(model, prompts, motion, 2.0, count, 0.0)
        for _ in range(count):
            guided(x, t, cast)
    steps(2, 64, 64, 9)  # what libraries keep for themselves from their first use on
    print(growth(lambda: steps(int(sys.argv[3]), *map(int, sys.argv[4:]))))
"""
FIGURES = {"step_cache_coefficients": [0.0, 1.0]}  # of TeaCache: any will do


def written(folder: Path, family: str, figures: dict = FIGURES) -> Path:
    torch.manual_seed(0)
    kind, config = MODELS[family]
    with torch.no_grad():
        weights = {name: value.contiguous() for name, value in kind(config).state_dict().items()}
    stated = ({} if family == "easyanimate" else asdict(config)) | {"defaults": figures}
    save_file(weights, folder / f"{family}.safetensors", metadata={"config": json.dumps(stated)})
    return folder / f"{family}.safetensors"


@needs_linux
@pytest.mark.parametrize("given", [{}, {"guidance": "batched"}, {"step_cache": "teacache"}], ids=["usual", "batched", "teacache"])
@pytest.mark.parametrize("family", MODELS)
def test_the_prediction_is_within_10_percent_of_what_a_process_really_takes(family, given, tmp_path) -> None:
    path, options = written(tmp_path, family), Options(**given)
    predicted = predict_memory(path, **SIZE, device="cpu", options=options)
    count = 2 if options.step_cache == "teacache" else 1
    measured = in_a_process(MEASURE, path, json.dumps(given), count, *SIZE.values())
    assert predicted.work == pytest.approx(measured, rel=0.1), (predicted.work / 1e6, measured / 1e6)


def test_options_that_hold_more_at_once_are_told_so(tmp_path) -> None:
    path = written(tmp_path, "easyanimate")
    usual, batched, cached, fp8, products = (
        predict_memory(path, **SIZE, options=Options(**given)).work for given in
        ({}, {"guidance": "batched"}, {"step_cache": "teacache"}, {"storage": "fp8_e4m3fn"},
         {"storage": "fp8_e4m3fn", "fp8_products": True})
    )  # fmt: skip
    tokens = 13 * 16 * 24 * 512 * 2  # bytes of them in 16 bits
    assert 1.7 * usual < batched < 2.1 * usual
    assert 3 * tokens < cached - usual < 6 * tokens  # for each half the change and what was looked at
    assert products > fp8  # inputs in fp8 beside those in 16 bits
    with pytest.raises(ModelError, match="TeaCache knows no figures"):
        predict_memory(written(tmp_path, "easyanimate", {}), options=Options(step_cache="teacache"))


@pytest.mark.parametrize("dtype", ["auto", "bf16", "fp8_e4m3fn"])
@pytest.mark.parametrize("family", MODELS)
def test_weights_are_told_to_the_byte_in_every_storage(family, dtype, tmp_path) -> None:
    path = written(tmp_path, family)
    model = load_model(path, dtype=dtype)
    module = model.module
    weights = sum(value.nbytes for value in (*module.parameters(), *module.buffers()))
    blocks = [sum(v.nbytes for m in group for v in (*m.parameters(), *m.buffers())) for group in model.groups()]
    told = predict_memory(path, dtype=dtype, device="cpu", width=64, height=64, frames=9)
    assert (told.weights, list(told.blocks)) == (weights, blocks)


def test_live_bytes_follow_what_is_made_seen_twice_and_let_go() -> None:
    with LiveBytes() as live:
        whole = torch.zeros(1000)
        part = whole.view(10, 100)[3]
        del whole
        assert live.now == 4000  # the part keeps it
        del part
        whole = torch.ones(500)
        whole += 1
        assert (live.now, live.peak) == (2000, 4000)


def test_block_swap_counts_what_stays_and_what_is_on_its_way() -> None:
    memory = Memory(weights=1000, blocks=(80,) * 10, work=50)
    assert memory.on_device(Options()) == 1050
    assert memory.on_device(Options(blocks_on_device=4, prefetch=2)) == 200 + 6 * 80 + 50
    assert memory.on_device(Options(blocks_on_device=9, prefetch=5)) == 1050
    assert memory.most_blocks(1050 + OVERHEAD) == 0
    swapping = OVERHEAD + SCATTERED
    assert memory.needed(Options(blocks_on_device=4, prefetch=2)) == 730 + swapping
    memory = Memory(weights=40 * 10**9, blocks=(10**9,) * 39, work=10**9)
    assert memory.most_blocks(9e9 + swapping, prefetch=2) == 5 and memory.most_blocks(4e9 + swapping, prefetch=2) is None


def test_cards_on_which_swapping_ran_out_of_memory_are_given_fewer_blocks() -> None:
    """The outcome is that of benchmarks/results/full_size_h100.json: 12 GB held neither 16 blocks of Wan 14B in fp8 nor
    36 of EasyAnimate 12B, and 8 GB not 6 of Wan's, but 21 of EasyAnimate's. The sizes are what `measure` said of the
    code that ran there."""
    mib = 2**20
    wan = Memory(15871 * mib, (385 * mib,) * 40, 3561 * mib)
    easyanimate = Memory(12138 * mib, (252 * mib,) * 48, 1096 * mib)
    assert (wan.most_blocks(12e9), wan.most_blocks(8e9)) == (12, 2)
    assert (easyanimate.most_blocks(12e9), easyanimate.most_blocks(8e9)) == (31, 16)


def test_suggestions_keep_the_files_precision_where_it_fits_whole_and_else_swap_the_fewest_blocks() -> None:
    gb = 10**9
    stored = Memory(weights=32 * gb, blocks=(gb * 3 // 4,) * 40, work=3 * gb)
    small = Memory(weights=17 * gb, blocks=(gb * 3 // 8,) * 40, work=3 * gb)
    found = suggestions(stored, small)
    assert found[24].changed() == {"storage": "fp8_e4m3fn"}
    assert found[16].storage == "fp8_e4m3fn" and small.on_device(found[16]) <= 16 * gb - OVERHEAD - SCATTERED < small.on_device(
        replace(found[16], blocks_on_device=found[16].blocks_on_device + 1)
    )
    assert suggestions(small, None)[24].changed() == {}
    assert suggestions(Memory(9 * gb, (gb,) * 2, 8 * gb), None)[8] is None


def test_what_does_not_fit_comes_with_the_option_that_makes_it_fit() -> None:
    gb = 10**9
    memory = Memory(weights=32 * gb, blocks=(gb * 3 // 4,) * 40, work=3 * gb)
    assert advice("ati", memory, Options(), 40 * gb) is None
    said = advice("ati", memory, Options(), 24 * gb)
    assert "ati needs about 35.8 GB" in said and "24.0 GB are free" in said
    count = memory.most_blocks(24 * gb)
    assert f"hold {count} of the 40 blocks" in said
    assert advice("ati", memory, Options(blocks_on_device=count), 24 * gb) is None
    assert "fp8" in advice("ati", memory, Options(), 5 * gb)
