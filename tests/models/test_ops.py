"""What weights are stored in and computed in: fp8, 16 bit, and the layers that stay out of fp8."""

from __future__ import annotations

import pytest
import torch
from comfyui_trajectory.models.common import ops
from comfyui_trajectory.models.common.checkpoint import Checkpoint, CheckpointError, ModelError, assign
from comfyui_trajectory.models.common.ops import CastLinear, apply_dtype, prepare, real_weight, resolve_dtype, store_fp8
from torch import nn

E4M3 = torch.float8_e4m3fn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 16)
        self.inner = nn.Linear(16, 32)
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 4)

    def forward(self, ids):
        return self.head(self.norm(self.inner(self.table(ids))))


IDS = torch.arange(10)[None]


def model(dtype: torch.dtype = torch.float32) -> Model:
    torch.manual_seed(0)
    return Model().to(dtype).requires_grad_(False)


def test_scaled_fp8_weights_are_the_stored_ones_times_their_scale_in_both_spellings() -> None:
    reference = model()
    scale = torch.tensor(0.013)
    stored = (reference.inner.weight / scale).to(E4M3)
    reference.inner.weight = nn.Parameter(stored.float() * scale, requires_grad=False)
    for name, ignored in (("scale_weight", "scale_input"), ("weight_scale", "input_scale")):
        tensors = {**reference.state_dict(), "inner.weight": stored, f"inner.{name}": scale,
                   f"inner.{ignored}": torch.tensor(7.0), "scaled_fp8": torch.empty(0, dtype=E4M3)}  # fmt: skip
        with torch.device("meta"):
            loaded = Model()
        apply_dtype(assign(loaded, Checkpoint.from_tensors(tensors)))
        assert loaded.inner.weight.dtype == E4M3
        torch.testing.assert_close(loaded(IDS), reference(IDS))


@pytest.mark.parametrize(("form", "message"), [("float8_e4m3fn", None), ("nvfp4", "quantised as nvfp4")])
def test_comfy_quant_descriptions_are_accepted_for_fp8_only(form: str, message: str | None) -> None:
    description = torch.tensor(list(f'{{"format": "{form}"}}'.encode()), dtype=torch.uint8)
    tensors = {**model().state_dict(), "inner.comfy_quant": description, "inner.weight_scale": torch.tensor(1.0)}
    with torch.device("meta"):
        loaded = Model()
    if message is None:
        assert assign(loaded, Checkpoint.from_tensors(tensors)).inner.scale_weight == 1
    else:
        with pytest.raises(CheckpointError, match=message):
            assign(loaded, Checkpoint.from_tensors(tensors))


def test_using_a_scaled_weight_does_not_change_it() -> None:
    layer = model().inner
    layer.register_buffer("scale_weight", torch.tensor(0.5))
    before = layer.weight.clone()
    assert torch.equal(real_weight(layer, torch.float32), before / 2)
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize(("dtype", "error"), [(E4M3, 0.04), (torch.float8_e5m2, 0.08)])
def test_casting_to_fp8_keeps_small_and_huge_weights(dtype: torch.dtype, error: float) -> None:
    for size in (1e-4, 1.0, 1e4):  # below the smallest and above the largest number of a plain cast
        layer = nn.Sequential(nn.Linear(64, 64)).requires_grad_(False)
        weight = layer[0].weight.copy_(torch.randn(64, 64) * size).clone()
        store_fp8(layer, dtype, keep=())
        difference = (real_weight(layer[0], torch.float32) - weight).norm() / weight.norm()
        assert layer[0].weight.dtype == dtype and difference < error


def test_sensitive_layers_biases_and_norms_stay_out_of_fp8() -> None:
    loaded = apply_dtype(model(torch.bfloat16), E4M3, torch.bfloat16)
    assert loaded.inner.weight.dtype == E4M3
    assert {loaded.head.weight.dtype, loaded.inner.bias.dtype, loaded.norm.weight.dtype} == {torch.bfloat16}
    assert loaded(IDS).dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("widen_below", [0, 2**31])
def test_16_bit_files_compute_in_float32_widened_once_or_on_use(dtype, widen_below: int, monkeypatch) -> None:
    monkeypatch.setattr(ops, "WIDEN_BELOW", widen_below)
    expected = model(dtype).float()(IDS)
    loaded = apply_dtype(model(dtype))
    assert loaded.inner.weight.dtype == (dtype if widen_below == 0 else torch.float32)
    assert loaded.norm.weight.dtype == loaded.inner.bias.dtype == torch.float32
    assert isinstance(loaded.inner, CastLinear) == (widen_below == 0)
    torch.testing.assert_close(loaded(IDS), expected, rtol=0, atol=0)


def test_a_stated_16_bit_dtype_undoes_fp8_with_its_scale() -> None:
    stored = store_fp8(model(), keep=())
    weight = real_weight(stored.inner, torch.bfloat16)
    apply_dtype(stored, torch.bfloat16, torch.bfloat16)
    assert torch.equal(stored.inner.weight, weight)
    assert "scale_weight" not in stored.inner._buffers


def test_scales_of_an_unknown_shape_are_an_error() -> None:
    loaded = model()
    loaded.inner.register_buffer("scale_weight", torch.ones(5))
    with pytest.raises(CheckpointError, match="5 values for 32 rows"):
        apply_dtype(loaded)


def test_dtype_names_decide_storage_and_computation() -> None:
    assert resolve_dtype("auto", "cpu") == ("auto", torch.float32)
    assert resolve_dtype("fp8_e4m3fn", "cpu") == (E4M3, torch.float32)
    assert resolve_dtype("bf16", "cpu") == (torch.bfloat16, torch.bfloat16)
    with pytest.raises(ModelError, match="no dtype 'int4'; choose one of auto"):
        resolve_dtype("int4")
    assert prepare(model(), "fp16", "cpu") == torch.float16
