"""Tokens that are worked on some at a time and in their own memory give what all of them at once in new memory give."""

from __future__ import annotations

import pytest
import torch
from comfyui_trajectory.models.cogvideox.transformer import CogVideoXTransformer
from comfyui_trajectory.models.common import ops, pieces
from comfyui_trajectory.models.common.feed_forward import FeedForward
from comfyui_trajectory.models.common.heads import heads_of
from comfyui_trajectory.models.common.ops import CastLinear, ScaledLinear, store_fp8
from comfyui_trajectory.models.easyanimate.config import EasyAnimateConfig
from comfyui_trajectory.models.easyanimate.transformer import EasyAnimateTransformer
from comfyui_trajectory.models.wan.transformer import WanTransformer
from torch import nn

from ..tiny import CLIP_DIM, TEXT_DIM, TRANSFORMER
from ..tiny_tora import TRANSFORMER as TORA
from ..tiny_tora import lively

FEW = 5 * 64 * 4  # bytes: five tokens of the small models' width in float32


def wan():
    module, x = WanTransformer(TRANSFORMER), torch.randn(2, 16, 3, 8, 6)
    return module, (x, torch.tensor([500.0, 300.0]), torch.randn(2, 7, TEXT_DIM), torch.randn(2, 20, 3, 8, 6),
                    torch.randn(2, 257, CLIP_DIM))  # fmt: skip


def cogvideox():
    module, x = CogVideoXTransformer(TORA), torch.randn(2, 16, 3, 8, 6)
    return module, (x, torch.tensor([500, 300]), torch.randn(2, 12, TORA.text_embed_dim), None, torch.randn_like(x))


def easyanimate():
    sizes = {"num_attention_heads": 4, "num_layers": 2, "mmdit_layers": 1, "text_embed_dim": 24, "time_embed_dim": 16}
    x = torch.randn(2, 16, 3, 8, 6)
    return EasyAnimateTransformer(EasyAnimateConfig(**sizes)), (x, torch.tensor([500.0, 300.0]), torch.randn(2, 5, 24))


FAMILIES = {"wan": wan, "cogvideox": cogvideox, "easyanimate": easyanimate}


@pytest.fixture(params=FAMILIES)
def case(request):
    torch.manual_seed(0)
    module, inputs = FAMILIES[request.param]()
    lively(module)
    return module.eval(), inputs


def test_in_pieces_all_families_give_the_same(case, monkeypatch) -> None:
    module, inputs = case
    whole = module(*inputs)
    asked, real = [], pieces.rows
    monkeypatch.setattr(pieces, "PIECE", FEW)
    for name in ("heads", "feed_forward"):
        monkeypatch.setattr(f"comfyui_trajectory.models.common.{name}.rows",
                            lambda x, *sizes: asked.append((len(x), real(x, *sizes))) or asked[-1][1])  # fmt: skip
    torch.testing.assert_close(module(*inputs), whole, rtol=1e-5, atol=1e-5)
    assert all(1 <= count < tokens for tokens, count in asked if tokens > 5) and asked


@torch.enable_grad()
def test_what_learns_is_not_overwritten_and_gets_the_same_numbers(case) -> None:
    module, inputs = case
    with torch.no_grad():
        plain = module(*inputs)
    result = module(*inputs)
    torch.testing.assert_close(result, plain, rtol=1e-5, atol=1e-5)
    result.square().mean().backward()  # torch refuses where what it kept has been changed
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
    assert next(module.parameters()).grad.abs().sum() > 0


def test_what_is_given_stays_as_it_is(case) -> None:
    module, inputs = case
    before = [value if value is None else value.clone() for value in inputs]
    first, kept = module(*inputs).clone(), [value for value in inputs if value is not None]
    assert all(torch.equal(a, b) for a, b in zip(kept, filter(lambda value: value is not None, before)))
    assert torch.equal(module(*inputs), first)


def test_pieces_are_as_few_as_can_be_and_of_one_size(monkeypatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 100)
    assert [pieces.rows(torch.empty(tokens, 4), 10) for tokens in (1, 10, 11, 20, 21)] == [1, 10, 6, 10, 7]
    assert pieces.rows(torch.empty(7, 4), 1000) == 1  # one token is more than a piece
    assert pieces.rows(torch.empty(50, 4, device="meta"), 10, 300) == 25
    with pieces.hollow_as_on_a_cpu():
        assert pieces.rows(torch.empty(50, 4, device="meta"), 10, 300) == 10


def test_heads_take_the_memory_of_their_tokens(monkeypatch) -> None:
    x, norm = torch.randn(1, 40, 64), nn.LayerNorm(16)
    expected = norm(x.unflatten(-1, (4, 16))).transpose(1, 2)
    monkeypatch.setattr(pieces, "PIECE", FEW)
    heads = heads_of(x, lambda part: norm(part.unflatten(-1, (4, 16))))
    torch.testing.assert_close(heads, expected)
    assert heads.shape == (1, 4, 40, 16) and heads.data_ptr() == x.data_ptr()


def test_weights_in_fp8_are_converted_once_for_all_pieces(monkeypatch) -> None:
    torch.manual_seed(1)
    layers, x = store_fp8(FeedForward(64), keep=()), torch.randn(1, 40, 64)
    enter, leave = layers.net[0].proj, layers.net[2]
    assert type(enter) is type(leave) is CastLinear
    whole, converted, real = layers(x.clone()), [], ops.real_weight
    monkeypatch.setattr(ops, "real_weight", lambda layer, dtype: converted.append(layer) or real(layer, dtype))
    monkeypatch.setattr(pieces, "PIECE", FEW)
    torch.testing.assert_close(layers(x.clone()), whole, rtol=1e-5, atol=1e-5)
    assert converted == [enter, leave]

    added = leave.register_forward_hook(lambda layer, inputs, output: output + 1)  # as a LoRA that is not fused
    torch.testing.assert_close(layers(x.clone()), whole + 1, rtol=1e-5, atol=1e-5)
    added.remove()
    failing = leave.register_forward_pre_hook(lambda layer, inputs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        layers(x.clone())
    failing.remove()
    assert enter.converted is leave.converted is None


def test_layers_that_multiply_fp8_are_given_all_tokens_at_once(monkeypatch) -> None:
    seen, layers = [], store_fp8(FeedForward(64), keep=())
    layers.net[0].proj.__class__ = ScaledLinear
    monkeypatch.setattr(ScaledLinear, "forward", lambda self, x: seen.append(x.shape[:-1].numel()) or torch.zeros(*x.shape[:-1], 256))
    monkeypatch.setattr(pieces, "PIECE", FEW)
    layers(torch.randn(1, 40, 64))
    assert seen == [40]
