"""The feed-forward of all families, computed for some of the tokens at a time. Knows plain torch layers only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .onednn import PLAIN, gelu_of

# Of what lies between two layers at once. A whole clip's would be the largest tensor of a step; and up to 32 MiB glibc
# gives memory again that it had before, where larger pieces come from the system each time, page by page.
PIECE = 24 * 2**20  # bytes
LARGE_PIECE = 256 * 2**20  # on a GPU, whose products of few rows leave a part of it idle
of_cpus = {"cpu"}  # kinds of devices with the smaller pieces


@contextmanager
def hollow_as_on_a_cpu() -> Iterator[None]:
    """Tensors without contents are dealt with as a CPU's, and not as a GPU's."""
    of_cpus.add("meta")
    try:
        yield
    finally:
        of_cpus.discard("meta")


def feed_forward(x: Tensor, enter: nn.Linear, leave: nn.Linear) -> Tensor:
    """leave(GELU(enter(x))), the GELU by tanh, for some tokens at a time. x: [batch, tokens, dim].

    Layers that convert their weights on use are run once, since that is work for each piece too.
    """
    most = PIECE if x.device.type in of_cpus else LARGE_PIECE
    rows = max(1, most // (len(x) * enter.out_features * x.element_size()))
    if rows >= x.shape[1] or type(enter) not in PLAIN or torch.is_grad_enabled():
        return leave(gelu_of(enter, x))
    for piece in x.split(rows, dim=1):
        piece.copy_(leave(gelu_of(enter, piece)))
    return x


class FeedForward(nn.Module):
    """The one of CogVideoX and EasyAnimate, under diffusers' parameter names."""

    def __init__(self, dim: int):
        super().__init__()
        enter = nn.Module()
        enter.proj = nn.Linear(dim, 4 * dim)
        self.net = nn.ModuleList([enter, nn.Identity(), nn.Linear(4 * dim, dim)])

    def forward(self, x: Tensor) -> Tensor:
        return feed_forward(x, self.net[0].proj, self.net[2])
