"""Products by oneDNN: the numbers of F.linear, plain layers wherever they are not of use."""

from __future__ import annotations

import comfyui_trajectory.models.common.onednn as onednn
import pytest
import torch
import torch.nn.functional as F
from comfyui_trajectory.models.common.ops import CastLinear, prepare, store_fp8
from torch import nn


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 8, bias=False)).requires_grad_(False)


INPUTS = {
    "tokens": torch.randn(2, 10, 32), "a piece": torch.randn(2, 10, 32)[:, 3:], "channels first": torch.randn(1, 32, 10).mT,
    "rows": torch.randn(5, 32), "one row": torch.randn(32), "none": torch.randn(0, 32), "grids": torch.randn(2, 3, 4, 5, 32),
}  # fmt: skip


@pytest.fixture(autouse=True)
def processor(monkeypatch):
    """Lets the processor be one that can do what is said; AVX-512 at first."""

    def be(capability: str) -> None:
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)

    be("AVX512")
    return be


@pytest.mark.parametrize("capability", ["AVX512", "AVX2"])
@pytest.mark.parametrize("name", INPUTS)
@torch.no_grad()
def test_the_numbers_are_those_of_plain_layers_for_any_shape(processor, name: str, capability: str) -> None:
    processor(capability)
    plain, fast = layers(), layers()
    prepare(fast, "fp32", "cpu")
    kinds = [type(fast[i]) is onednn.OneDNNLinear for i in (0, 2)]  # without AVX-512 only where outputs are fewer
    assert kinds == [onednn.available() and capability == "AVX512", onednn.available()]
    torch.testing.assert_close(fast(INPUTS[name]), plain(INPUTS[name]))
    wanted = F.gelu(plain[0](INPUTS[name]), approximate="tanh")
    for layer in (plain[0], fast[0]):
        torch.testing.assert_close(onednn.gelu_of(layer, INPUTS[name]), wanted)


@torch.enable_grad()
def test_a_layer_that_learns_gets_its_gradient() -> None:
    fast = layers().requires_grad_(True)
    prepare(fast, "fp32", "cpu")
    onednn.gelu_of(fast[0], INPUTS["rows"]).sum().backward()
    plain = layers().requires_grad_(True)
    F.gelu(plain[0](INPUTS["rows"]), approximate="tanh").sum().backward()
    torch.testing.assert_close(fast[0].weight.grad, plain[0].weight.grad)
    assert fast[0].weight.grad.abs().sum() > 0


@torch.no_grad()
def test_only_float32_on_a_cpu_is_changed() -> None:
    half, small = layers(), layers()
    prepare(half, "bf16", "cpu")
    assert type(half[0]) is nn.Linear
    prepare(small, "fp32", "cpu")
    store_fp8(small)
    assert type(small[0]) is CastLinear


def test_an_operator_that_is_gone_or_changed_is_not_used(monkeypatch, caplog) -> None:
    def gone(*_):
        raise TypeError("_linear_pointwise() takes 7 arguments")

    def without_gelu(x, weight, bias, gelu=False):
        return F.linear(x, weight, bias)

    for changed in (gone, lambda x, weight, bias, gelu=False: torch.zeros(1, 3, 2), without_gelu):
        monkeypatch.setattr(onednn, "product", changed)
        onednn.available.cache_clear()
        module = layers()
        onednn.use_onednn(module)
        assert type(module[0]) is nn.Linear
    onednn.available.cache_clear()
