"""The feed-forward of all families, computed for some of the tokens at a time."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from .onednn import PLAIN, gelu_of
from .pieces import rows


def feed_forward(x: Tensor, enter: nn.Linear, leave: nn.Linear) -> Tensor:
    """leave(GELU(enter(x))), the GELU by tanh, for some tokens at a time and in their memory. x: [batch, tokens, dim].

    Layers that convert their weights on use do so once for all pieces (`converted_once`); those that cannot are run once.
    """
    layers, tokens = (enter, leave), x.flatten(0, 1)
    once = [None if torch.compiler.is_compiling() else getattr(layer, "converted_once", None) for layer in layers]
    known = all(type(layer) in PLAIN or convert for layer, convert in zip(layers, once))
    count = rows(tokens, enter.out_features * x.element_size())
    if count >= len(tokens) or not known or torch.is_grad_enabled():
        return leave(gelu_of(enter, x))
    with ExitStack() as stack:
        for convert in filter(None, once):
            stack.enter_context(convert(x))
        for piece in tokens.split(count):
            piece.copy_(leave(gelu_of(enter, piece)))
    return tokens.view_as(x)


class FeedForward(nn.Module):
    """The one of CogVideoX and EasyAnimate, under diffusers' parameter names."""

    def __init__(self, dim: int):
        super().__init__()
        enter = nn.Module()
        enter.proj = nn.Linear(dim, 4 * dim)
        self.net = nn.ModuleList([enter, nn.Identity(), nn.Linear(4 * dim, dim)])

    def forward(self, x: Tensor) -> Tensor:
        return feed_forward(x, self.net[0].proj, self.net[2])
