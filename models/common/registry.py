"""Which families there are, and which of them a checkpoint belongs to. A family is a folder with a `detect` module;
nothing here knows the keys of any of them."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from importlib import import_module

from .checkpoint import Checkpoint, open_checkpoint
from .description import KINDS, Description, seems_to_be
from .errors import CheckpointError

FAMILIES = {"wan": "Wan 2.1", "cogvideox": "CogVideoX", "easyanimate": "EasyAnimate V5.1"}  # folder: name in a sentence


def describe(checkpoint: Checkpoint, kind: str, stated: dict | None = None) -> Description | None:
    """What `checkpoint` is as one of KINDS ("diffusion model", "vae" …); None where no family knows it.

    stated: configuration that the tensors cannot tell, over what the file's header says.
    """
    shapes = checkpoint.part(kind).shapes
    stated = {**(checkpoint.config or {}), **(stated or {})}
    for family in FAMILIES:
        try:
            found = import_module(f"..{family}.detect", __package__).detect(kind, shapes, stated)
        except KeyError as error:
            raise CheckpointError(
                f"{checkpoint.path} looks like a {family} {kind}, but lacks {error}. It is "
                "incomplete: download it again."
            ) from error
        except CheckpointError as error:
            raise CheckpointError(f"{checkpoint.path} looks like a {family} {kind}, but {error}.") from error
        if found is not None:
            return found
    return None


def identify(checkpoint: Checkpoint, kind: str, stated: dict | None = None) -> Description:
    """As `describe`, but raises CheckpointError where the file is something else or cannot be run: what was looked for,
    what the file seems to be, and where that belongs."""
    found = describe(checkpoint, kind, stated)
    if found is None:
        raise CheckpointError(
            f"{checkpoint.path} is not a {KINDS[kind][0]} of {' or '.join(FAMILIES.values())}. "
            + _what_else(checkpoint, kind)
        )
    if found.problem:
        raise CheckpointError(f"{checkpoint.path}: {found.problem}")
    return found


def _what_else(checkpoint: Checkpoint, kind: str) -> str:
    for other, (name, folder, node) in KINDS.items():
        found = describe(checkpoint, other) if other != kind else None
        if found is not None:
            return (
                f"It is a {FAMILIES[found.family]} {name}: it belongs to ComfyUI/models/{folder} and is loaded by "
                f"{node}. A {KINDS[kind][0]} is needed here."
            )
    foreign = seems_to_be(checkpoint)
    if foreign:
        return f"It seems to be {foreign}."
    return f"Its {len(checkpoint)} tensors are of no known model (first: {', '.join(list(checkpoint)[:3])})."


def info(path) -> dict:
    """What a checkpoint is, from its headers alone.

    path, files, bytes, parameters, tensors, dtypes {name: share of the bytes}, kind, family, variant, sizes, config,
    problem (why it cannot be run, or None), memory (bytes needed to run it: weights and activations of one clip, an
    estimate), contents (kind of each part, for files that hold several). An unknown file has kind None and `seems`.
    """
    checkpoint = path if isinstance(path, Checkpoint) else open_checkpoint(path)
    found = [part for part in (describe(checkpoint, kind) for kind in KINDS) if part is not None]
    result = {
        "path": str(checkpoint.path),
        "files": [str(file) for file in checkpoint.files],
        "bytes": checkpoint.nbytes,
        "parameters": sum(checkpoint.elements(k) for k, dtype in checkpoint.dtypes.items() if dtype.is_floating_point),
        "tensors": len(checkpoint),
        "dtypes": _dtype_shares(checkpoint),
        "config": checkpoint.config,
        "kind": None, "family": None, "variant": None, "sizes": {}, "problem": None,
        "memory": None,
        "contents": [part.kind for part in found],
    }  # fmt: skip
    if not found:
        return {**result, "problem": "unknown model", "seems": seems_to_be(checkpoint)}
    main = found[0]
    sizes = asdict(main.config) if is_dataclass(main.config) else dict(main.config)
    needed = checkpoint.nbytes + main.working_bytes if main.problem is None else None
    return {
        **result,
        "kind": main.kind,
        "family": main.family,
        "variant": main.variant,
        "sizes": sizes,
        "problem": main.problem,
        "memory": needed,
    }


def _dtype_shares(checkpoint: Checkpoint) -> dict[str, float]:
    total = {}
    for key, dtype in checkpoint.dtypes.items():
        name = str(dtype).removeprefix("torch.")
        total[name] = total.get(name, 0) + checkpoint.elements(key) * dtype.itemsize
    everything = max(1, sum(total.values()))
    return {name: count / everything for name, count in sorted(total.items(), key=lambda item: -item[1]) if count}
