"""The option nodes and what the loader does with them."""

from __future__ import annotations

import logging

import pytest
import torch
from comfyui_trajectory.models import Options
from comfyui_trajectory.nodes import NODE_CLASS_MAPPINGS as nodes
from comfyui_trajectory.nodes import load
from comfyui_trajectory.nodes.inputs import InputError

from ..tiny import FILES
from .test_generation import encode, sample


def memory(**given):
    return nodes["TrajectoryMemoryOptions"]().choose(**given)[0]


def speed(**given):
    return nodes["TrajectorySpeedOptions"]().choose(**given)[0]


def test_fresh_nodes_change_nothing_and_each_goes_on_from_the_other():
    assert memory() == speed() == Options()
    both = speed(guidance="batched", options=memory(storage="bf16", blocks_on_device=4, prefetch=2))
    assert both.changed() == {"storage": "bf16", "blocks_on_device": 4, "prefetch": 2, "guidance": "batched"}
    assert memory(storage="bf16", options=speed(step_cache="easycache")).step_cache == "easycache"


def test_what_is_out_of_range_names_the_inputs():
    with pytest.raises(InputError, match="^storage, blocks_on_device, prefetch: blocks_on_device is 1"):
        memory(blocks_on_device=1)


def test_the_loader_takes_them_and_the_sampler_acts_by_them(tiny, caplog):
    loader = nodes["TrajectoryModelLoader"]()
    options = speed(step_cache="easycache", step_cache_threshold=1.0, options=memory(storage="fp8_e4m3fn"))
    (model,) = loader.load(FILES["diffusion_models"], options=options)
    assert model.module.blocks[0].ffn[0].weight.dtype == torch.float8_e4m3fn
    motion, *_ = encode(tiny)
    tiny.model = model
    with caplog.at_level(logging.INFO):
        sample(tiny, motion, steps=8)
    assert "5 of 8 steps were skipped" in caplog.text


def test_inside_comfyui_blocks_are_left_to_comfyui(monkeypatch, caplog):
    monkeypatch.setattr(load, "host", object())  # what is not the plain host
    with caplog.at_level(logging.INFO):
        assert load.as_the_host_allows(memory(blocks_on_device=4, storage="bf16")) == memory(storage="bf16")
    assert "left to ComfyUI" in caplog.text


def test_inside_comfyui_fp8_products_are_told_to_be_left_out(monkeypatch, caplog):
    monkeypatch.setattr(load, "host", object())
    assert load.as_the_host_allows(speed(fp8_products=True, compile=True)) == speed(compile=True)
    assert "fp8_products" in caplog.text
