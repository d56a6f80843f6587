"""ATI's room: builds Wan 2.1 models from checkpoints. What they do is in `system`, the maths in the files beside it."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..common.checkpoint import Checkpoint, assign
from ..common.description import Description
from ..common.ops import prepare
from . import image, text
from .latent import WAN21
from .system import DEFAULTS, WanVideoModel, WanVideoVAE
from .transformer import WanTransformer
from .vae import WanVAE

__all__ = ["load_image_encoder", "load_model", "load_text_encoder", "load_vae"]

load_text_encoder, load_image_encoder = text.load, image.load


def load_model(checkpoint: Checkpoint, found: Description, dtype: str, device: torch.device) -> WanVideoModel:
    """A transformer from a checkpoint that was recognised as one. dtype: see `models.load_model`."""
    stated = checkpoint.config or {}
    with torch.device("meta"):
        module = WanTransformer(found.config)
    assign(module, checkpoint.part(found.kind))
    compute = prepare(module, dtype, device)
    return WanVideoModel(
        module, found.config, checkpoint.path, {**DEFAULTS, **stated.get("defaults", {})}, latent_format(stated),
        compute, device, motion_method=stated.get("motion"),
    )  # fmt: skip


def load_vae(checkpoint: Checkpoint, found: Description, dtype: str, device: torch.device) -> WanVideoVAE:
    with torch.device("meta"):
        module = WanVAE(found.config)
    assign(module, checkpoint.part(found.kind))
    compute = prepare(module, dtype, device)
    return WanVideoVAE(module, checkpoint.path, latent_format(checkpoint.config or {}), compute, device)


def latent_format(stated: dict):
    """Wan 2.1's statistics; a small model of our own states its own linear preview as `latent_rgb`: 16 rows and a
    bias."""
    rows = stated.get("latent_rgb")
    if not rows:
        return WAN21
    *factors, bias = (tuple(row) for row in rows)
    return replace(WAN21, rgb=tuple(factors), rgb_bias=bias, tiny_decoder=None)
