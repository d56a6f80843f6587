"""torch.compile for the blocks of a transformer, which goes on without it where it does not work. Knows no model."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import torch
from torch import nn

log = logging.getLogger(__name__)


class Compiled:
    """A block's forward, compiled at its first call; where compiling fails (no compiler, an operation that it does not
    know), one line says so and the block runs as it is. Hooks on the block stay outside of it."""

    failed = False  # of any block of the list: the others need not try

    def __init__(self, forward):
        self.plain, self.compiled = forward, torch.compile(forward)

    def __call__(self, *inputs, **named):
        if type(self).failed:
            return self.plain(*inputs, **named)
        try:
            return self.compiled(*inputs, **named)
        except torch._dynamo.exc.TorchDynamoException as error:
            type(self).failed = True
            log.warning("torch.compile does not work here and is left out: %s", str(error).strip().splitlines()[0])
            return self.plain(*inputs, **named)


def compile_blocks(blocks: Iterable[nn.Module]) -> None:
    kind = type("CompiledBlock", (Compiled,), {"failed": False})  # of this model alone
    for block in blocks:
        block.forward = kind(block.forward)
