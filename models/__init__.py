"""The model core: files in, models out, one sampling loop. It knows nothing of ComfyUI, widgets or file pickers.

A family is a folder (`wan`, …) that is named in `common/registry.py` and offers load_model, load_vae,
load_text_encoder and load_image_encoder.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import torch

from .common.checkpoint import Checkpoint, open_checkpoint
from .common.errors import CheckpointError, ModelError
from .common.memory import Memory, measure, measure_coding
from .common.ops import DTYPES, multiplies_fp8, use_fp8_products
from .common.options import Options
from .common.registry import identify, info
from .common.sampling import sample
from .common.schedulers import SCHEDULERS
from .common.types import LatentFormat, Motion, TextConditioning

__all__ = [
    "DTYPES", "SCHEDULERS", "CheckpointError", "LatentFormat", "Memory", "ModelError", "Motion", "Options",
    "TextConditioning", "embedded", "info", "load_image_encoder", "load_model", "load_text_encoder", "load_vae",
    "predict_coding", "predict_memory", "sample",
]  # fmt: skip


def load_model(
    path, *, motion=None, dtype: str = "auto", device: torch.device | str = "cpu", config: dict | None = None,
    place: torch.device | str | None = None, options: Options = Options(),
):  # fmt: skip
    """The diffusion model in a checkpoint; its family, variant and sizes are read from the file.

    path: .safetensors, .pth, a folder or an index of shards. motion: a file of the parts that make it follow tracks,
    where they are not in the model's own (Tora's fuser or traj_extractor). dtype: one of DTYPES, how the weights are
    kept ('auto': as in the file). device: where the model runs. place: where its weights lie, if not there (for a host
    that moves them itself). config: sizes that the file cannot tell.
    options: how the model is held in memory and run; its storage, where not 'auto', is used in place of dtype.
    CheckpointError names what is wrong.
    """
    dtype = dtype if options.storage == "auto" else options.storage
    if options.blocks_on_device and place is None:
        place = "cpu"  # swapped blocks go to the device in turn
    return _load("diffusion model", "load_model", path, dtype, device, config, place, motion).settle(options)


def predict_memory(
    path, width: int = 0, height: int = 0, frames: int = 0, *, motion=None, dtype: str = "auto", device: str = "cuda",
    options: Options = Options(),
) -> Memory:  # fmt: skip
    """What a diffusion model takes while it makes a clip of that size (0: its usual one), from the file's header alone.

    dtype, motion, options: as for `load_model`; of swapped blocks `Memory.on_device` tells. device: 'cuda', where 16 bit
    are computed in, or 'cpu' (32 bit).
    """
    dtype = dtype if options.storage == "auto" else options.storage
    model = _hollow("diffusion model", "load_model", path, dtype, device, motion)
    model.options = options
    if options.fp8_products and device != "cpu" and (not torch.cuda.is_available() or multiplies_fp8(torch.device(device))):
        use_fp8_products(model.module)
    usual = (model.defaults[name] for name in ("width", "height", "frames"))
    return measure(model, *(given or normal for given, normal in zip((width, height, frames), usual)))


def predict_coding(
    path, width: int = 0, height: int = 0, frames: int = 0, *, dtype: str = "auto", device: str = "cuda",
    tile: int | None = None,
) -> dict[str, Memory]:  # fmt: skip
    """What a VAE takes while it encodes and while it decodes such a clip: {'encode': …, 'decode': …}. tile: the side of
    tiles in pixels that it decodes in; else as for `predict_memory`."""
    vae = _hollow("vae", "load_vae", path, dtype, device)
    size = [given or normal for given, normal in zip((width, height, frames), vae.usual)]
    weights = sum(weight.nbytes for weight in (*vae.module.parameters(), *vae.module.buffers()))
    return {
        "encode": Memory(weights, (), measure_coding(vae, "encode", *size)),
        "decode": Memory(weights, (), measure_coding(vae, "decode", *size, tile)),
    }


def _hollow(kind: str, loader: str, path, dtype: str, device: str, motion=None):
    """A model or VAE without contents, from the file's header alone."""
    checkpoint, found, family = _find(kind, path, dtype, None, motion)
    hollow = {
        key: torch.empty(shape, dtype=checkpoint.dtypes[key], device="meta")
        for key, shape in checkpoint.shapes.items() if not key.endswith("comfy_quant")
    }  # fmt: skip
    checkpoint = Checkpoint.from_tensors(hollow, checkpoint.path, checkpoint.metadata)
    return getattr(family, loader)(checkpoint, found, dtype, torch.device("cpu" if device == "cpu" else "meta"))


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
    checkpoint, found, family = _find(kind, path, dtype, config, motion)
    model = getattr(family, loader)(checkpoint, found, dtype, torch.device(device), **options)
    model.to(device if place is None else place)
    model.device = torch.device(device)
    return model


def _find(kind: str, path, dtype: str, config: dict | None, motion=None):
    """The checkpoint, what it is, and the folder of its family."""
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
    return checkpoint, found, family


PARTS = {"model": "transformer", "vae": "vae", "text_encoder": "text_encoder"}
# The small model files that the pack carries, by system and part.
EMBEDDED = {
    system: {part: f"{system}_{name}.safetensors" for part, name in PARTS.items()}
    for system in ("ati", "tora", "easyanimate")
}
EMBEDDED["ati"]["image_encoder"] = "ati_image_encoder.safetensors"


def embedded(part: str, system: str = "ati") -> Path:
    """A small model file that the pack carries. part: 'model', 'vae', 'text_encoder', or 'image_encoder', which only
    'ati' has; system: 'ati', 'tora' or 'easyanimate'."""
    return Path(__file__).parent / "embedded" / EMBEDDED[system][part]
