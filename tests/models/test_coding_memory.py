"""What a VAE will take while it encodes and decodes is told beforehand, and is what it then takes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from comfyui_trajectory.models import embedded, load_vae, predict_coding
from comfyui_trajectory.models.common.memory import LiveBytes, measure_coding

from .peak_memory import in_a_process, needs_linux

SYSTEMS = ("ati", "tora", "easyanimate")
WIDER = {"ati": {"dim": 48}, "tora": {"block_out_channels": (64, 64, 128, 128)},
         "easyanimate": {"block_out_channels": (32, 64, 128, 128)}}  # fmt: skip
SIZE = (256, 160, 17)
# Large enough that activations, and not the interpreter, are what grows.
MEASURE = """
import json, sys, torch
from dataclasses import replace
from comfyui_trajectory.models import embedded, load_vae
from peak_memory import growth
torch.set_num_threads(1)
system, direction, (wider, (width, height, frames)) = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
vae = load_vae(embedded("vae", system))
config = replace(vae.module.config, **wider)
with torch.no_grad():
    vae.module = type(vae.module)(config)
    def work(width, height, frames):
        if direction == "encode":
            vae.encode(torch.rand(1, 3, frames, height, width))
        else:
            vae.decode(torch.randn(1, 16, (frames - 1) // 4 + 1, height // 8, width // 8))
    work(64, 64, 9)  # what libraries keep for themselves from their first use on
    print(growth(lambda: work(width, height, frames)))
"""


def widened(system: str):
    vae = load_vae(embedded("vae", system))
    with torch.device("meta"):
        vae.module = type(vae.module)(replace(vae.module.config, **WIDER[system]))
    return vae


@needs_linux
@pytest.mark.parametrize("direction", ["encode", "decode"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_the_prediction_is_within_10_percent_of_what_a_process_really_takes(system: str, direction: str) -> None:
    told = measure_coding(widened(system), direction, *SIZE)
    if direction == "encode":
        told += 3 * 4 * SIZE[0] * SIZE[1] * SIZE[2]  # the pixels, which are somebody else's
    measured = in_a_process(MEASURE, system, direction, json.dumps([WIDER[system], SIZE]))
    assert told == pytest.approx(measured, rel=0.1), (told / 1e6, measured / 1e6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("frames", [1, 5, 21, 41])
@pytest.mark.parametrize("system", SYSTEMS)
def test_of_a_long_clip_as_much_is_told_as_of_tensors_that_live(system: str, frames: int, dtype) -> None:
    vae = load_vae(embedded("vae", system))
    vae.module.to(dtype)
    vae.dtype = dtype
    latents = torch.randn(1, 16, (frames - 1) // 4 + 1, 8, 12)
    with LiveBytes((torch.ops.aten.convolution.default,)) as live:  # oneDNN
        vae.decode(latents)
    assert measure_coding(vae, "decode", 96, 64, frames) == pytest.approx(live.peak, rel=0.1)


def test_tiles_take_less_and_the_kind_of_device_counts() -> None:
    whole = predict_coding(embedded("vae", "tora"), 720, 480, 49)
    tiles = predict_coding(embedded("vae", "tora"), 720, 480, 49, tile=256)
    on_cpu = predict_coding(embedded("vae", "tora"), 720, 480, 49, device="cpu")
    assert whole["encode"] == tiles["encode"] and tiles["decode"].work < 0.5 * whole["decode"].work
    assert on_cpu["decode"].weights == 2 * whole["decode"].weights  # widened to 32 bits
    usual = predict_coding(embedded("vae", "tora"))
    assert usual == whole
