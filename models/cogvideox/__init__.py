"""Tora's room: builds CogVideoX models from checkpoints. What they do is in `system`, the maths in the files beside it."""

from __future__ import annotations

import torch
from torch import nn

from ..common.checkpoint import Checkpoint, assign
from ..common.description import Description
from .layouts import IGNORED, by_plan
from .transformer import CogVideoXTransformer
from .vae import CogVideoXVAE

MODULES = {"diffusion model": CogVideoXTransformer, "vae": CogVideoXVAE}


def build(checkpoint: Checkpoint, found: Description) -> nn.Module:
    """The network of a checkpoint's part that was recognised as `found`, from any layout, its weights as in the file."""
    with torch.device("meta"):
        module = MODULES[found.kind](found.config)
    return assign(module, by_plan(checkpoint.part(found.kind)), ignore=IGNORED).eval()
