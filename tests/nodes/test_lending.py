"""Layers that a host lends weights to compute what they did before, with a small stand-in for ComfyUI's layers.

The real ones: tests/comfyui/test_memory.py.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from comfyui_trajectory.models.cogvideox.transformer import CogVideoXTransformer
from comfyui_trajectory.models.common import pieces
from comfyui_trajectory.models.common.feed_forward import FeedForward
from comfyui_trajectory.models.common.ops import CastLinear, apply_dtype, store_fp8
from comfyui_trajectory.models.wan.transformer import WanTransformer
from comfyui_trajectory.models.wan.vae import WanVAE
from comfyui_trajectory.nodes.lending import LEAST_TABLE, bring_the_rest, contained, lend
from torch import nn

from ..tiny import CLIP_DIM, TEXT_DIM, TRANSFORMER, VAE
from ..tiny_tora import TRANSFORMER as TORA
from ..tiny_tora import lively


class Lent:
    """As comfy.ops.CastWeightBiasOp, with the cast where a weight is lent; `casts` counts."""

    comfy_cast_weights = False
    weight_function: list = []
    casts = 0

    def forward(self, *args, **kwargs):
        return self.forward_comfy_cast_weights(*args) if self.comfy_cast_weights else super().forward(*args)

    def forward_comfy_cast_weights(self, input):
        weight, bias = Ops.cast_bias_weight(self, input)
        if isinstance(self, nn.Linear):
            return F.linear(input, weight, bias)
        return self._conv_forward(input, weight, bias)


class Ops:
    class disable_weight_init:
        Linear, Conv1d, Conv2d, Conv3d = (
            type(base.__name__, (Lent, base), {}) for base in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
        )
        Embedding = type("Embedding", (nn.Embedding,), {"comfy_cast_weights": False, "weight_function": []})

    class manual_cast:
        Linear = type("Linear", (Lent, nn.Linear), {"comfy_cast_weights": True})

    @staticmethod
    def cast_bias_weight(layer, input):
        layer.casts += 1
        return layer.weight.to(input.dtype), None if layer.bias is None else layer.bias.to(input.dtype)


def lent_layers(module: nn.Module) -> list[nn.Module]:
    return [layer for layer in module.modules() if hasattr(layer, "comfy_cast_weights")]


def wan():
    torch.manual_seed(0)
    module = WanTransformer(TRANSFORMER)
    nn.init.normal_(module.head.head.weight, std=0.1)
    x, text = torch.randn(1, 36, 2, 4, 4), torch.randn(1, 3, TEXT_DIM)
    return module, (x[:, :16], torch.tensor([500.0]), text, x[:, 16:], torch.randn(1, 5, CLIP_DIM))


def tora():
    torch.manual_seed(0)
    module = CogVideoXTransformer(TORA)
    lively(module)
    x, flow = torch.randn(2, 1, 16, 3, 4, 4)
    return module, (x, torch.tensor([500]), torch.randn(1, 12, TEXT_DIM), None, flow)


def vae():
    torch.manual_seed(0)
    module = WanVAE(VAE)
    module.forward = module.moments
    return module, (torch.randn(1, 3, 5, 16, 16),)


@pytest.mark.parametrize("network", [wan, tora, vae])
def test_lent_weights_give_the_same_numbers_and_every_layer_of_its_kind_is_lent(network):
    module, inputs = network()
    before = module(*inputs)
    plain = [layer for layer in module.modules() if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))]
    lend(module, Ops)
    assert torch.equal(module(*inputs), before)
    layers = lent_layers(module)
    assert layers == plain and not any(layer.casts for layer in layers)
    for layer in layers:
        layer.comfy_cast_weights = True
    assert torch.equal(module(*inputs), before)
    used = [layer.casts > 0 for layer in layers]
    assert sum(used) > len(used) / 3 if network is vae else all(used)  # the decoder is not used here


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_weights_stored_in_fewer_bits_are_widened_and_scaled_as_ours_are(dtype):
    module, inputs = wan()
    if dtype == torch.bfloat16:
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                layer.weight = nn.Parameter(layer.weight.to(dtype))
                layer.__class__ = CastLinear
    else:
        store_fp8(apply_dtype(module), dtype)
    before = module(*inputs)
    lend(module, Ops)
    assert torch.equal(module(*inputs), before) and not any(type(layer) is CastLinear for layer in module.modules())


@pytest.mark.parametrize("stored", ["fp32", "fp8"])
def test_the_feed_forward_brings_its_weights_once_for_all_pieces_of_its_tokens(stored, monkeypatch):
    torch.manual_seed(3)
    layers, x = FeedForward(64), torch.randn(1, 40, 64)
    if stored == "fp8":
        store_fp8(layers, keep=())
    expected = layers(x.clone())
    lend(layers, Ops)
    lent = [layers.net[0].proj, layers.net[2]]
    for layer in lent:
        layer.comfy_cast_weights = True
    monkeypatch.setattr(pieces, "PIECE", 5 * 64 * 4)
    torch.testing.assert_close(layers(x.clone()), expected, rtol=1e-5, atol=1e-5)
    assert [layer.casts for layer in lent] == [1, 1] and all(layer.converted is None for layer in lent)


def test_a_patch_is_added_to_the_real_number_of_a_scaled_weight():
    layer = nn.Linear(8, 8)
    real = layer.weight.detach().clone()
    module = store_fp8(nn.Sequential(layer))
    lend(module, Ops)
    assert torch.allclose(layer.convert_weight(layer.weight.float()), real, rtol=0.07, atol=1e-3)


def test_of_a_large_table_only_the_rows_are_brought():
    table = nn.Embedding(LEAST_TABLE // 8, 8)
    small = nn.Embedding(4, 8)
    ids = torch.tensor([[3, 5]])
    before = table(ids)
    lend(nn.ModuleList([table, small]), Ops)
    assert torch.equal(table(ids), before) and hasattr(table, "comfy_cast_weights")
    assert type(small) is nn.Embedding  # it goes along


def test_what_is_not_lent_goes_to_the_device_patched():
    module, _ = wan()
    lend(module, Ops)
    container = contained(module)
    assert type(container).__name__ == "WanTransformer"
    key = "diffusion_model.blocks.0.modulation"
    patched = []
    patcher = SimpleNamespace(model=container, patches={key: []}, backup={})
    patcher.patch_weight_to_device = lambda key, device: patched.append(key)
    bring_the_rest(patcher, torch.device("meta"), 0, False, False)
    assert patched == [key]
    assert module.blocks[0].modulation.is_meta and module.blocks[0].norm3.weight.is_meta
    assert not module.blocks[0].ffn[0].weight.is_meta
    patcher.backup = {key: "the original"}
    bring_the_rest(patcher, torch.device("meta"), 0, False, False)
    assert patched == [key]  # once
