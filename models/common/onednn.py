"""Linear layers of float32 models on a CPU, multiplied by oneDNN where torch has it: F.linear takes MKL there, which is
slower on AMD's processors, and takes a second pass for the GELU that follows. The operator is the one that torch's own
compiler puts in the place of F.linear (pytorch torch/_inductor/fx_passes/mkldnn_fusion.py)."""

from __future__ import annotations

import logging
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

log = logging.getLogger(__name__)


class OneDNNLinear(nn.Linear):
    """A Linear layer that is as any other where it is not in float32 on a CPU, or learns, or is compiled."""

    def forward(self, x: Tensor, gelu: bool = False) -> Tensor:
        fits = x.device.type == "cpu" and x.dtype == self.weight.dtype == torch.float32
        if not fits or torch.is_grad_enabled() or torch.compiler.is_compiling():
            x = super().forward(x)
            return gelu_in_place(x) if gelu else x
        return product(x, self.weight, self.bias, gelu)


PLAIN = (nn.Linear, OneDNNLinear)  # those whose weight is multiplied as it is


def product(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool = False) -> Tensor:
    """F.linear: [..., in] and [out, in] -> [..., out]; with gelu F.gelu of it, by tanh, before it is written."""
    after = ("gelu", [], "tanh") if gelu else ("none", [], "")
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, *after)


def gelu_of(layer: nn.Module, x: Tensor) -> Tensor:
    """GELU, by tanh, of layer(x): in one pass where oneDNN multiplies, else in its memory."""
    return layer(x, gelu=True) if isinstance(layer, OneDNNLinear) else gelu_in_place(layer(x))


def gelu_in_place(x: Tensor) -> Tensor:
    """Where nothing learns from x, it is overwritten."""
    return F.gelu(x, approximate="tanh") if torch.is_grad_enabled() else torch.ops.aten.gelu_(x, approximate="tanh")


@cache
def available() -> bool:
    """Whether torch has the operator and it still does what it should: it is not a public one."""
    if not torch.backends.mkldnn.is_available():
        return False
    on = {"device": "cpu", "dtype": torch.float32}
    x, weight, bias = torch.ones(1, 3, 4, **on), torch.ones(2, 4, **on), -torch.ones(2, **on) * 4.5
    plain = F.linear(x, weight, bias)
    try:
        fine = torch.equal(product(x, weight, bias), plain)
        return fine and torch.allclose(product(x, weight, bias, True), F.gelu(plain, approximate="tanh"))
    except (AttributeError, RuntimeError, TypeError) as error:
        log.info("oneDNN's products are not used: %s", str(error).strip().splitlines()[0])
        return False


def use_onednn(module: nn.Module) -> None:
    """Lets the plain Linear layers of `module` multiply by oneDNN on a CPU: all of them on one with AVX-512, else those
    of fewer outputs than inputs, since without it MKL is as fast or faster at the others (benchmarks/LOG.md)."""
    if available():
        all_of_them = "AVX512" in torch.backends.cpu.get_cpu_capability()
        for layer in module.modules():
            if type(layer) is nn.Linear and (all_of_them or layer.out_features < layer.in_features):
                layer.__class__ = OneDNNLinear
