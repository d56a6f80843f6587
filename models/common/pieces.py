"""How many tokens are worked on at a time, where what all of them take in between would be the largest tensor of a
step, and whether the result may take the memory of what it is made from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

# Of what is in between at once. Up to 32 MiB glibc gives memory again that it had before, where larger pieces come from
# the system each time, page by page.
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


def rows(x: Tensor, width: int, large: int = LARGE_PIECE) -> int:
    """How many of the tokens x [tokens, dim] at a time, where each of them takes `width` bytes in between: in as few
    pieces as there can be, and all of one size. large: of what is in between at once on a GPU."""
    most = max(1, (PIECE if x.device.type in of_cpus else large) // width)
    return math.ceil(len(x) / math.ceil(len(x) / most))


def overwrites() -> bool:
    """Whether what nobody needs any more may be overwritten: not where something learns, and compilers see to memory
    themselves."""
    return not (torch.is_grad_enabled() or torch.compiler.is_compiling())
