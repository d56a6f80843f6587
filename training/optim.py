"""Muon for matrices, AdamW for the rest, in one step; a learning rate that warms up and runs out. Knows no model."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .precision import has_bfloat16


def orthogonal(matrices: Tensor, steps: int = 3) -> Tensor:
    """The nearest orthogonal matrices [n, rows, columns], roughly: Newton-Schulz, coefficients of Keller Jordan's Muon.

    Three steps leave the smallest directions small; on a CPU five would cost half as much as the whole training step.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.bfloat16() if matrices.is_cuda or has_bfloat16() else matrices
    tall = x.shape[1] > x.shape[2]
    x = (x.mT if tall else x) / (x.flatten(1).norm(dim=1).view(-1, 1, 1) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal; kernels of convolutions count as [out, everything else].

    Matrices of one shape are made orthogonal together, which is much faster for small ones.
    """

    def __init__(self, parameters, lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            alike: dict[tuple, list] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault(tuple(p.flatten(1).shape), []).append(p)
            for (rows, columns), members in alike.items():
                buffers = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in members]
                gradients = [p.grad for p in members]
                torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
                directions = torch._foreach_lerp(gradients, buffers, group["momentum"])
                updates = orthogonal(torch.stack([d.flatten(1) for d in directions])) * max(1, rows / columns) ** 0.5
                torch._foreach_mul_(members, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(members, [u.view_as(p) for u, p in zip(updates, members)], alpha=-group["lr"])


def optimizers(
    module: nn.Module, muon_lr: float, adam_lr: float, plain: tuple[str, ...] = ()
) -> list[torch.optim.Optimizer]:
    """Muon for every weight of two or more dimensions but those whose name contains one of `plain`; AdamW for the
    rest."""
    matrices, rest = [], []
    for name, p in module.named_parameters():
        is_matrix = name.endswith("weight") and p.ndim >= 2 and not any(word in name for word in plain)
        (matrices if is_matrix else rest).append(p)
    return [Muon(matrices, muon_lr), torch.optim.AdamW(rest, adam_lr, betas=(0.9, 0.98), weight_decay=0.0)]


def rate(progress: float, warmup: float = 0.02, hold: float = 0.4) -> float:
    """Factor of the learning rate: up, level until `hold`, then a cosine down to 2%."""
    if progress < warmup:
        return progress / warmup
    if progress < hold:
        return 1.0
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (progress - hold) / (1 - hold)))


def falling(progress: float, warmup: float = 0.01) -> float:
    """Factor of the learning rate: up, then in a straight line down to nothing."""
    return min(progress / warmup, (1 - progress) / (1 - warmup))


def reached(state: dict, steps: int, minutes: float) -> int:
    """How far of `steps` a run is: its step, or, where it has so many minutes, at least the share of them that is
    spent. state: with step and minutes."""
    return max(state["step"], int(steps * state["minutes"] / minutes) if minutes else 0)
