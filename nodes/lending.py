"""Makes a model's layers ComfyUI's own, so that its memory manager can lend their weights to the device for each use.

What ComfyUI cannot lend (norms, tables, single parameters) is small and goes to the device with the model. It knows
ComfyUI's layers (`comfy.ops`), patcher and rounding (`comfy.float`), and no model: the maths stays in the models' own
classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.common.ops import CastEmbedding, CastLinear

LENT = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # nearly all weights; each has its like in comfy.ops
LEAST_TABLE = 1 << 20  # elements of an embedding table that is looked up where it lies, rather than brought along


class Container(nn.Module):
    """The one module of a ModelPatcher. ComfyUI sets attributes on it that a transformers module has as properties."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.diffusion_model = module  # in front of every key of a patch, as in ComfyUI's own models


PREFIX = "diffusion_model."


def contained(module: nn.Module) -> Container:
    """`module` in a container whose class is named like it: ComfyUI's log tells models by their class."""
    return named(type(module).__name__)(module)


@cache
def named(name: str) -> type:
    return type(name, (Container,), {})


def lend(module: nn.Module, ops) -> None:
    """Gives the layers of `module` the classes of `ops` (comfy.ops) below their own: their forward stays theirs.

    The weight and bias of such a layer are what ComfyUI leaves on the offload device where memory is short, brings
    over for each use, and patches there.
    """
    for layer in module.modules():
        if isinstance(layer, CastLinear):
            layer.__class__ = scaled_linear(ops)
        elif isinstance(layer, nn.Embedding):
            if layer.weight.numel() >= LEAST_TABLE:
                layer.__class__, layer.bias = table(ops), None
                layer.compute = layer.compute if isinstance(layer, CastEmbedding) else layer.weight.dtype
        else:
            base = next((base for base in LENT if isinstance(layer, base)), None)
            if base is nn.Linear:
                layer.__class__ = linear(ops)
            elif base is not None:
                layer.__class__ = joined(type(layer), getattr(ops.disable_weight_init, base.__name__))


@cache
def joined(own: type, hosts: type) -> type:
    """`own`, whose super() is the host's layer."""
    return hosts if own in LENT else type(own.__name__, (own, hosts), {})


class BroughtOnce:
    """For inputs that come in pieces: within `converted_once`, weight and bias are brought over and patched once."""

    converted: tuple[Tensor, Tensor | None] | None = None

    @contextmanager
    def converted_once(self, x: Tensor) -> Iterator[None]:
        self.converted = self.brought(x)
        try:
            yield
        finally:
            self.converted = None

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.converted is None else F.linear(x, *self.converted)


@cache
def linear(ops) -> type:
    """ComfyUI's own."""

    class Linear(BroughtOnce, ops.disable_weight_init.Linear):
        def brought(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
            return ops.cast_bias_weight(self, x)

    return Linear


@cache
def scaled_linear(ops) -> type:
    """Our Linear whose weight is stored in another dtype than its input's, perhaps with a scale, as a layer of ComfyUI.
    The numbers are those of `CastLinear`."""

    class ScaledLinear(BroughtOnce, ops.manual_cast.Linear):
        def scale(self, weight: Tensor) -> Tensor | None:
            scale = self._buffers.get("scale_weight")
            if scale is None:
                return None
            return (scale.reshape(()) if scale.numel() == 1 else scale.reshape(-1, 1)).to(weight.device)

        def brought(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
            weight, bias = ops.cast_bias_weight(self, x)
            scale = self.scale(weight)
            return weight if scale is None else (weight * scale).to(x.dtype), bias

        def forward_comfy_cast_weights(self, input: Tensor) -> Tensor:
            return F.linear(input, *self.brought(input))

        def convert_weight(self, weight: Tensor, inplace: bool = False, **_) -> Tensor:
            """The stored number as the real one: what ComfyUI adds patches to."""
            scale = self.scale(weight)
            return weight if scale is None else weight * scale

        def set_weight(self, weight: Tensor, inplace_update: bool = False, seed=None, return_weight=False, **_):
            """Stores a patched number."""
            scale = self.scale(weight)
            weight = rounded(weight if scale is None else weight / scale, self.weight.dtype, seed)
            if return_weight:
                return weight
            if inplace_update:
                self.weight.data.copy_(weight)
            else:
                self.weight = nn.Parameter(weight, requires_grad=False)

    def rounded(weight: Tensor, dtype: torch.dtype, seed) -> Tensor:
        import comfy.float

        return comfy.float.stochastic_rounding(weight, dtype, seed=seed)

    return ScaledLinear


@cache
def table(ops) -> type:
    """A large embedding table: its rows are looked up where it lies and only they are brought over."""

    class Table(ops.disable_weight_init.Embedding):
        def forward(self, ids: Tensor) -> Tensor:
            if self.weight_function or getattr(self, "weight_lowvram_function", None):  # patched on use: all of it is
                return super().forward(ids, out_dtype=self.compute)
            rows = F.embedding(ids.to(self.weight.device), self.weight, self.padding_idx)
            return rows.to(ids.device, self.compute)

    return Table


def bring_the_rest(patcher, device, *_) -> None:
    """After ComfyUI has loaded what it lends: brings everything else to the device, patched. A ModelPatcher's ON_LOAD
    callback."""
    for name, layer in patcher.model.named_modules():
        for key, value in layer._buffers.items():
            if value is not None:
                layer._buffers[key] = value.to(device)
        if hasattr(layer, "comfy_cast_weights"):
            continue
        for key, value in layer._parameters.items():
            path = f"{name}.{key}"
            if path in patcher.patches and path not in patcher.backup:
                patcher.patch_weight_to_device(path, device)
            value = layer._parameters[key]
            if value is not None and value.device != device:
                layer._parameters[key] = nn.Parameter(value.to(device), requires_grad=False)
