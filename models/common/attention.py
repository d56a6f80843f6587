"""The one attention function of all families, and the backends that may compute it. Which one runs is decided here, not
in the models."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module

import torch
import torch.nn.functional as F
from torch import Tensor, nn

log = logging.getLogger(__name__)

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention without mask.

    q: [batch, heads, tokens, head_dim]; k, v: [batch, heads, keys, head_dim] -> [batch, tokens, heads * head_dim], for
    which nothing is copied where q lies by tokens.
    """
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def sage(kernel) -> Attention:
    """thu-ml/SageAttention: 8-bit products of queries and keys."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return kernel(q, k, v, tensor_layout="HND", is_causal=False).transpose(1, 2).flatten(2)

    return attend


def flash(kernel) -> Attention:
    """Dao-AILab/flash-attention, for 16-bit inputs: [batch, tokens, heads, head_dim] in and out."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = kernel(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return (out[0] if isinstance(out, tuple) else out).flatten(2)

    return attend


def choose(name: str, device: torch.device, dtype: torch.dtype) -> tuple[str, Attention]:
    """(name, function) of the backend that is used where `name` is asked for, one of options.ATTENTION.

    'auto': flash-attn 3 on a Hopper GPU that has it, which is exact and faster there, else torch's own. Where what is
    asked for is not installed or does not run on this device or dtype, torch's own takes its place, and one line in the
    log says why.
    """
    if name == "auto":
        hopper = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] == 9
        kernel = find("flash_attn_interface", "flash_attn_func") if hopper and dtype.itemsize == 2 else None
        return ("sdpa", attention) if kernel is None else ("flash-attn", flash(kernel))
    if name == "sdpa":
        return name, attention
    problem = None
    if device.type != "cuda":
        problem = f"it runs on NVIDIA GPUs only, the model is on {device.type}"
    elif dtype.itemsize != 2:
        problem = f"it computes in 16 bit only, the model in {str(dtype).removeprefix('torch.')}"
    elif name == "sageattention":
        kernel = find("sageattention", "sageattn")
        if kernel is not None:
            return name, sage(kernel)
        problem = "it is not installed (pip install sageattention)"
    else:
        kernel = find("flash_attn_interface", "flash_attn_func") or find("flash_attn", "flash_attn_func")
        if kernel is not None:
            return name, flash(kernel)
        problem = "it is not installed (pip install flash-attn)"
    log.warning("attention: %s cannot be used: %s. torch's own attention is used.", name, problem)
    return "sdpa", attention


def find(module: str, function: str):
    """A function of an optional package; None where the package is missing or broken (wrong CUDA, wrong torch)."""
    try:
        return getattr(import_module(module), function, None)
    except (ImportError, OSError, RuntimeError) as error:
        log.info("attention: %s cannot be imported: %s", module, error)
        return None


def use_attention(module: nn.Module, attend: Attention) -> None:
    """Lets every part of `module` that attends do it by this function."""
    for part in module.modules():
        if hasattr(type(part), "attend_by"):
            part.attend_by = attend
