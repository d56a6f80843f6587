"""LoRA, memory and speed options as a user types them."""

from __future__ import annotations

import gc
import json
import weakref
from functools import cached_property

import pytest
import torch
from comfyui_trajectory.commands.files import read_video
from comfyui_trajectory.models import embedded
from safetensors.torch import save_file


@pytest.fixture
def generate(run, tmp_path):
    """generate(*arguments) -> the frames that came out."""

    def call(*arguments) -> torch.Tensor:
        code, _, err = run("generate", "-q", *arguments)
        assert code == 0, err
        return read_video(tmp_path / "output" / "video.mp4")[0]

    return call


def test_loras_are_added_with_their_strengths(run, generate, tmp_path):
    torch.manual_seed(5)
    key = "diffusion_model.blocks.1.ffn.2.lora_{}.weight"
    save_file({key.format("A"): torch.randn(2, 48), key.format("B"): torch.randn(32, 2)}, tmp_path / "a.safetensors")
    plain, none, once = generate(), generate("--lora", "a.safetensors", 0), generate("--lora", "a.safetensors")
    taken_back = generate("--lora", "a.safetensors", 0.5, "--lora", "a.safetensors", -0.5)
    difference = (plain - once).abs().mean()
    assert difference > 0.01
    assert max((plain - same).abs().mean() for same in (none, taken_back)) < 0.1 * difference
    code, _, err = run("generate", "-q", "--lora", "a.safetensors", "strong")
    assert code == 2 and "--lora a.safetensors strong" in err


def test_ways_to_run_reach_the_model(run, generate, caplog):
    with caplog.at_level("INFO"):
        generate("--steps", 10, "--skip-steps", "easycache", "--skip-threshold", 1000, "--guidance", "batched")
    assert "7 of 10 steps were skipped" in caplog.text
    code, _, err = run("generate", "-q", "--blocks-on-device", 1)
    assert code == 2 and "blocks_on_device is 1" in err


def noting(load, name, loaded):
    """The lazily loaded model `name`, with a weak reference to it noted in `loaded`."""

    def get(self):
        model = load(self)
        loaded.append(weakref.ref(model))
        return model

    noted = cached_property(get)
    noted.__set_name__(None, name)
    return noted


def test_encoders_leave_memory_once_they_are_used_but_for_a_list_of_videos(run, tiny_folder, monkeypatch):
    from comfyui_trajectory.commands import generate as module

    loaded, kept = [], []
    for name in ("text_encoder", "image_encoder"):
        monkeypatch.setattr(module.Pipeline, name, noting(getattr(module.Pipeline, name).func, name, loaded))
    sample = module.TrajectorySampler.sample

    def look(*given, **named):
        gc.collect()
        kept.append([reference() is not None for reference in loaded])
        return sample(*given, **named)

    monkeypatch.setattr(module.TrajectorySampler, "sample", look)
    monkeypatch.setattr(module.host, "_loaded", [])
    code, _, err = run("generate", "-q", "--steps", 1)
    assert code == 0, err
    assert len(loaded) == 2 and kept == [[False, False]]


def test_info_tells_the_memory_for_a_size_and_what_fits_which_card(run, tiny_folder):
    file = tiny_folder / "diffusion_models" / "tiny_transformer.safetensors"
    code, small, err = run("info", file, "--json", "--size", "32x32", "--frames", 5)
    assert code == 0, err
    large = json.loads(run("info", file, "--json", "--size", "320x320", "--frames", 81)[1])
    small = json.loads(small)
    assert 20 * small["work"] < large["work"] < large["memory"] and small["cards"]["8"] == {}
    assert "on 8 GB" in run("info", file)[1] and "fits as it is" in run("info", file)[1]


def test_info_tells_the_memory_with_the_options_that_are_asked_for(run, tiny_folder):
    file = tiny_folder / "diffusion_models" / "tiny_transformer.safetensors"
    asked = ("info", file, "--size", "320x320", "--frames", 81)
    usual, batched = (json.loads(run(*asked, "--json", *more)[1]) for more in ((), ("--guidance", "batched")))
    assert 1.5 * usual["work"] < batched["work"] and batched["cards"]["8"] == {"guidance": "batched"}
    assert "on 8 GB       --fp8-products --guidance batched" in run(*asked, "--guidance", "batched", "--fp8-products")[1]
    blocks = json.loads(run(*asked, "--json", "--blocks-on-device", 2)[1])
    assert blocks["work"] == usual["work"] and blocks["memory"] <= usual["memory"]
    code, _, err = run(*asked, "--skip-steps", "teacache")
    assert code != 0 and "TeaCache knows no figures of tiny_transformer.safetensors" in err


def test_info_tells_what_a_vae_takes_and_the_tiles_that_fit_a_card(run):
    file = embedded("vae", "tora")
    found = json.loads(run("info", file, "--json", "--size", "1280x1280", "--frames", 49)[1])
    assert found["memory"] > found["decode"] > found["encode"] > 0
    cards = json.loads(run("info", file, "--json", "--size", "2560x1440", "--frames", 49)[1])["cards"]
    assert cards["8"] == {"tile": 512} and cards["24"] == {}
    larger = run("info", file, "--size", "3840x2160", "--frames", 49)[1]
    for line in ("to decode, beside the weights", "on 8 GB       does not fit", "on 12 GB      --tile 512", "on 24 GB      fits"):
        assert line in larger
