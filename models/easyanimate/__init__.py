"""EasyAnimate's room: builds V5.1 models from checkpoints. What they do is in `system`, the maths in the files beside
it."""

from __future__ import annotations

import torch

from ..common.checkpoint import Checkpoint, assign
from ..common.description import Description
from ..common.ops import prepare
from . import text
from .detect import DIFFUSERS
from .latent import latent_format
from .system import DEFAULTS, EasyAnimateModel, EasyAnimateVideoVAE
from .transformer import EasyAnimateTransformer
from .vae import EasyAnimateVAE

__all__ = ["load_model", "load_text_encoder", "load_vae"]

load_text_encoder = text.load
KEEP = ("norm", "bias", "time_", "text_proj", "proj_out")  # out of fp8


def load_model(checkpoint: Checkpoint, found: Description, dtype: str, device: torch.device) -> EasyAnimateModel:
    """A transformer from a checkpoint that was recognised as one. dtype: see `models.load_model`."""
    stated = checkpoint.config or {}
    with torch.device("meta"):
        module = EasyAnimateTransformer(found.config)
    assign(module, checkpoint.part(found.kind), key_map=DIFFUSERS)
    compute = prepare(module, dtype, device, KEEP)
    defaults = {**DEFAULTS, **stated.get("defaults", {})}
    return EasyAnimateModel(module, found.config, checkpoint.path, defaults, latent_format(stated), compute, device)


def load_vae(checkpoint: Checkpoint, found: Description, dtype: str, device: torch.device) -> EasyAnimateVideoVAE:
    with torch.device("meta"):
        module = EasyAnimateVAE(found.config)
    assign(module, checkpoint.part(found.kind))
    compute = prepare(module, dtype, device)
    return EasyAnimateVideoVAE(module, checkpoint.path, latent_format(checkpoint.config or {}), compute, device)
