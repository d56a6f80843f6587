"""The model core: files in, models out, one sampling loop. It knows nothing of ComfyUI, widgets or file pickers.

A family is a folder (`wan`, …) that is named in `common/registry.py` and offers load_model, load_vae,
load_text_encoder and load_image_encoder.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import torch

from .common.checkpoint import open_checkpoint
from .common.errors import CheckpointError, ModelError
from .common.ops import DTYPES
from .common.registry import identify, info
from .common.sampling import sample
from .common.schedulers import SCHEDULERS
from .common.types import LatentFormat, Motion, TextConditioning

__all__ = [
    "DTYPES", "SCHEDULERS", "CheckpointError", "LatentFormat", "ModelError", "Motion", "TextConditioning", "embedded",
    "info", "load_image_encoder", "load_model", "load_text_encoder", "load_vae", "sample",
]  # fmt: skip


def load_model(
    path, *, motion=None, dtype: str = "auto", device: torch.device | str = "cpu", config: dict | None = None,
    place: torch.device | str | None = None,
):  # fmt: skip
    """The diffusion model in a checkpoint; its family, variant and sizes are read from the file.

    path: .safetensors, .pth, a folder or an index of shards. motion: a file of the parts that make it follow tracks,
    where they are not in the model's own (Tora's fuser or traj_extractor). dtype: one of DTYPES, how the weights are
    kept ('auto': as in the file). device: where the model runs. place: where its weights lie, if not there (for a host
    that moves them itself). config: sizes that the file cannot tell.
    CheckpointError names what is wrong.
    """
    return _load("diffusion model", "load_model", path, dtype, device, config, place, motion)


def load_vae(path, *, dtype: str = "auto", device: torch.device | str = "cpu", config: dict | None = None, place=None):
    """The video VAE in a checkpoint; arguments as for `load_model`."""
    return _load("vae", "load_vae", path, dtype, device, config, place)


def load_text_encoder(
    path, *, tokenizer=None, dtype: str = "auto", device: torch.device | str = "cpu", config: dict | None = None,
    place=None,
):  # fmt: skip
    """The text encoder in a checkpoint. tokenizer: where it lies, if neither in the file nor beside it."""
    return _load("text encoder", "load_text_encoder", path, dtype, device, config, place, tokenizer=tokenizer)


def load_image_encoder(
    path, *, dtype: str = "auto", device: torch.device | str = "cpu", config: dict | None = None, place=None
):  # fmt: skip
    """The CLIP vision model in a checkpoint; arguments as for `load_model`."""
    return _load("image encoder", "load_image_encoder", path, dtype, device, config, place)


def _load(kind: str, loader: str, path, dtype: str, device, config: dict | None, place, motion=None, **options):
    if dtype not in DTYPES:
        raise ModelError(f"dtype is '{dtype}': it must be one of {', '.join(DTYPES)}.")
    checkpoint = open_checkpoint(path, kind)
    found = identify(checkpoint, kind, config)
    family = import_module(f".{found.family}", __package__)
    if motion is not None:
        if not hasattr(family, "with_motion"):
            raise ModelError(f"{path} is a {found.family} model, which takes no file of motion parts such as {motion}.")
        checkpoint = family.with_motion(checkpoint, found, motion)
        found = identify(checkpoint, kind, config)
    model = getattr(family, loader)(checkpoint, found, dtype, torch.device(device), **options)
    model.to(device if place is None else place)
    model.device = torch.device(device)
    return model


EMBEDDED = {
    "model": "ati_transformer.safetensors",
    "vae": "ati_vae.safetensors",
    "text_encoder": "ati_text_encoder.safetensors",
    "image_encoder": "ati_image_encoder.safetensors",
}


def embedded(part: str) -> Path:
    """The small model files that the pack carries: 'model', 'vae', 'text_encoder' or 'image_encoder'."""
    return Path(__file__).parent / "embedded" / EMBEDDED[part]
