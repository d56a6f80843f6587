"""A make-believe GPU in the CPU's memory, for machines without one: tensors that say they lie on cuda, and do not mix
with others. It catches what a real one would refuse (tensors of two devices in one operation, numpy from a GPU), and
computes as the CPU does.

It stands on torch's overrides of functions, not on its dispatcher, so that a build of torch without CUDA will do.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

# What may be given tensors of two devices, and what is not touched.
MIXING = {"__getitem__", "__setitem__", "copy_", "to", "index_put_"}
UNTOUCHED = {"device", "_parse_to", "__set__", "_make_subclass"}
OF_TENSORS = {"T", "mT", "H", "data", "real", "imag"}  # attributes that are tensors


class OnGpu(Tensor):
    """Has the shape, dtype and strides of `inner`, and cuda as its device."""

    @staticmethod
    def __new__(cls, inner: Tensor):
        return Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device="cuda:0",
        )  # fmt: skip

    def __init__(self, inner: Tensor):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        """What torch does by itself, such as to detach a parameter."""
        result = func(*tree_map(inside, args), **tree_map(inside, kwargs or {}))
        return tree_map(lambda x: OnGpu(x) if isinstance(x, Tensor) else x, result)


def inside(x):
    return x.inner if isinstance(x, OnGpu) else x


def same_kind(a: Tensor, b: Tensor) -> bool:
    """In place of torch's question whether a module's parameter can become another tensor without being replaced."""
    return isinstance(a, OnGpu) == isinstance(b, OnGpu)


def names(x, kind: str) -> bool:
    return isinstance(x, (torch.device, str)) and str(x).split(":")[0] == kind


class MakeBelieve(TorchFunctionMode):
    """Inside the block there is a GPU."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name, given = getattr(func, "__name__", ""), (*args, *kwargs.values())
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        there = any(isinstance(x, OnGpu) for x in tensors)
        if name in UNTOUCHED or not (there or any(names(x, "cuda") for x in given)):
            return func(*args, **kwargs)
        if name == "__get__" and getattr(func.__self__, "__name__", "") not in OF_TENSORS:
            return func(*args, **kwargs)
        if name in ("numpy", "__array__"):
            raise TypeError("can't convert cuda tensor to numpy")
        if there and name not in MIXING and any(not isinstance(x, OnGpu) and x.ndim for x in tensors):
            where = [(x.device.type, tuple(x.shape)) for x in tensors]
            raise RuntimeError(f"{name}: Expected all tensors to be on the same device: {where}")
        first = args[0] if args else None
        here = name == "cpu" or any(names(x, "cpu") for x in given)
        if name in ("copy_", "__getitem__", "__setitem__"):
            here = not isinstance(first, OnGpu)
        elif name == "to" and len(args) > 1 and isinstance(args[1], Tensor):
            here = not isinstance(args[1], OnGpu)
        moved = name in ("to", "cpu") and isinstance(first, OnGpu) == here  # a copy, whatever torch makes of it
        owners = {id(x.inner): x for x in tensors if isinstance(x, OnGpu)}

        def on_cpu(x):
            return torch.device("cpu") if names(x, "cuda") else inside(x)

        result = func(*tree_map(on_cpu, args), **tree_map(on_cpu, kwargs))
        if moved:
            result = result.clone()
        if here:
            return result
        return tree_map(lambda x: x if not isinstance(x, Tensor) else owners[id(x)] if id(x) in owners else OnGpu(x), result)
