"""Tora's room: builds CogVideoX models from checkpoints. What they do is in `system`, the maths in the files beside
it."""

from __future__ import annotations

import torch
from torch import nn

from ..common.checkpoint import Checkpoint, assign
from ..common.description import Description
from ..common.ops import prepare
from . import text
from .config import CogVideoXConfig
from .latents import latent_format
from .layouts import IGNORED, by_plan
from .parts import with_motion
from .system import DEFAULTS, CogVideoXModel, CogVideoXVideoVAE
from .transformer import CogVideoXTransformer
from .vae import CogVideoXVAE

__all__ = ["load_model", "load_text_encoder", "load_vae", "with_motion"]

load_text_encoder = text.load
MODULES = {"diffusion model": CogVideoXTransformer, "vae": CogVideoXVAE}
# Weights that stay out of fp8: kijai/ComfyUI-CogVideoXWrapper model_loading.py (params_to_keep), and Tora's parts.
SENSITIVE = ("patch_embed", "norm", "time_embedding", "ofs_embedding", "proj_out", "traj_extractor", "fuser")


def build(checkpoint: Checkpoint, found: Description) -> nn.Module:
    """The network of a checkpoint's part that was recognised as `found`, from any layout, its weights as in the
    file."""
    with torch.device("meta"):
        module = MODULES[found.kind](found.config)
    return assign(module, by_plan(checkpoint.part(found.kind)), ignore=IGNORED).eval()


def load_model(checkpoint: Checkpoint, found: Description, dtype: str, device: torch.device) -> CogVideoXModel:
    """A transformer from a checkpoint that was recognised as one. dtype: see `models.load_model`."""
    stated = checkpoint.config or {}
    module = build(checkpoint, found)
    compute = prepare(module, dtype, device, keep=SENSITIVE)
    defaults = {**DEFAULTS, **sizes(found.config), **stated.get("defaults", {})}
    format = latent_format(stated, found.config.out_channels)
    return CogVideoXModel(module, found.config, checkpoint.path, defaults, format, compute, device)


def sizes(config: CogVideoXConfig) -> dict:
    """The clip that a transformer was made for. That of CogVideoX 1.5 is not in its configuration."""
    if config.patch_size_t > 1:
        return {"width": 1360, "height": 768, "frames": config.sample_frames, "fps": 16.0}
    width, height = config.sample_width * CogVideoXModel.spatial, config.sample_height * CogVideoXModel.spatial
    return {"width": width, "height": height, "frames": config.sample_frames, "sizes": [[width, height]]}


def load_vae(checkpoint: Checkpoint, found: Description, dtype: str, device: torch.device) -> CogVideoXVideoVAE:
    module = build(checkpoint, found)
    compute = prepare(module, dtype, device)
    format = latent_format(checkpoint.config or {}, found.config.latent_channels, found.config.scaling_factor)
    return CogVideoXVideoVAE(module, checkpoint.path, format, compute, device)
