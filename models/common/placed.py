"""Where a model lies and where it computes, which a host may keep apart. Knows no network."""

from __future__ import annotations

import torch
from torch import nn


class Placed:
    """Something with a `module`. device: where its inputs go and where it computes; its weights lie there too, unless
    a host that lends weights to the device for each use keeps them elsewhere."""

    module: nn.Module
    device: torch.device = torch.device("cpu")

    def to(self, device: torch.device | str):
        """Moves the weights, and computes there."""
        self.module.to(device)
        self.device = torch.device(device)
        return self
