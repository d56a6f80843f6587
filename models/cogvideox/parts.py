"""Tora's trajectory parts in files of their own (fuser*.safetensors, traj_extractor*.safetensors), joined to a
CogVideoX base. Layout: kijai/ComfyUI-CogVideoXWrapper model_loading.py:DownloadAndLoadToraModel."""

from __future__ import annotations

import logging
from pathlib import Path

from ..common.checkpoint import Checkpoint, open_checkpoint
from ..common.description import Description
from ..common.errors import CheckpointError
from .detect import TORA_KEYS
from .layouts import joined

log = logging.getLogger(__name__)

PARTS = {"fuser": "0.flow_gamma_spatial.weight", "traj_extractor": "conv_in.weight"}  # prefix: a key of such a file


def with_motion(base: Checkpoint, found: Description, path) -> Checkpoint:
    """The base with Tora's two parts. path: one of their files; the other is found by its name, in the same folder or
    in the one named after it. CheckpointError where a file is missing, is something else, or does not fit the base."""
    part = base.part(found.kind)
    if any(key in part for key in TORA_KEYS):
        raise CheckpointError(f"{base.path} holds Tora's parts already: load it without {path}.")
    parts = {}
    for name, file in files(Path(path)).items():
        checkpoint = open_checkpoint(file)
        checkpoint = checkpoint.only(f"{name}.") if f"{name}.{PARTS[name]}" in checkpoint else checkpoint
        if PARTS[name] not in checkpoint:
            raise CheckpointError(f"{file} is not Tora's {name}: it lacks {PARTS[name]}. Choose another file.")
        parts[f"{name}."] = checkpoint
    check_variant(found, Path(path))
    return joined(part, parts)


def files(path: Path) -> dict[str, Path]:
    """{"fuser": file, "traj_extractor": file} of one of the two."""
    own = next((name for name in PARTS if name in path.name), None)
    if own is None:
        raise CheckpointError(
            f"{path} is not named like one of Tora's parts, {' or '.join(f'{name}*' for name in PARTS)}."
        )
    other = next(name for name in PARTS if name != own)
    name = path.name.replace(own, other, 1)
    places = [path.with_name(name), path.parent.parent / path.parent.name.replace(own, other, 1) / name]
    found = [place for place in places if place.is_file()]
    if not found:
        raise CheckpointError(
            f"{places[0]} is missing: Tora's parts are two files, {path.name} and {name}. Put both there."
        )
    return {own: path, other: found[0]}


def check_variant(found: Description, path: Path) -> None:
    """T2V and I2V parts have the same keys and shapes; only their names tell them apart."""
    named = [variant for variant in ("t2v", "i2v") if variant in path.stem.lower()]
    variant = found.config.variant
    if named and named != [variant]:
        raise CheckpointError(
            f"{path} is Tora's part for the {named[0]} model, the base is {variant}. Use the part made for it."
        )
    if not named and variant == "i2v":
        log.warning("%s does not say I2V in its name: the public part without it is for text-to-video.", path.name)
