"""Norms and sums that several families share, in as few passes over the tokens as torch allows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pieces import overwrites


class RMSNorm(nn.Module):
    """Over the full width, not per head; computed in float32."""

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        if x.device.type != "cpu":
            return F.rms_norm(wide, x.shape[-1:], eps=self.eps).to(x.dtype) * self.weight
        # torch has no kernel of its own for it on a CPU: the norm is read in one pass, without squares in between.
        square = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square() / x.shape[-1]
        normed = (wide * torch.rsqrt(square + self.eps)).to(x.dtype)
        if torch.is_grad_enabled() or normed.dtype != self.weight.dtype:
            return normed * self.weight
        return normed.mul_(self.weight)  # where it is: new memory costs more than the product


def modulated(norm: nn.LayerNorm, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """norm(x) * (1 + scale) + shift in the width of x. x: [batch, tokens, dim]; shift, scale: [batch, 1, dim].

    With a batch of one the same numbers hold for all tokens, so that they are the norm's own weight and bias.
    """
    plain = type(norm) is nn.LayerNorm and (norm.weight is None or norm.weight.device == x.device)
    if len(x) > 1 or not plain:
        return torch.addcmul(shift.to(x.dtype), norm(x), (1 + scale).to(x.dtype))
    weight, bias = 1 + scale.flatten(), shift.flatten()
    if norm.weight is not None:
        weight, bias = norm.weight * weight, torch.addcmul(bias, norm.bias, weight)
    return F.layer_norm(x, norm.normalized_shape, weight.to(x.dtype), bias.to(x.dtype), norm.eps)


def added(x: Tensor, change: Tensor, gate: Tensor | None = None) -> Tensor:
    """x + gate * change, in the memory of `change` where that may be: new memory costs more than the sum.

    x, change: [batch, tokens, dim]; gate: [batch, 1, dim] or as they are.
    """
    into = change if overwrites() else None
    return torch.add(x, change, out=into) if gate is None else torch.addcmul(x, gate, change, out=into)


def added_apart(x: Tensor, change: Tensor, words: int, gates: tuple[Tensor, Tensor]) -> Tensor:
    """`added`, with one gate for the first `words` tokens and another for those after them."""
    parts = slice(None, words), slice(words, None)
    sums = [added(x[:, part], change[:, part], gate) for part, gate in zip(parts, gates)]
    return change if overwrites() else torch.cat(sums, dim=1)
