"""Checkpoints: what a file holds, without its prefixes, and its tensors assigned to a module built on the meta device.
Knows no family: names of keys, tables of renamings and configurations come from the families' folders."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from .errors import CheckpointError, ModelError
from .readers import Entry, read

__all__ = ["Checkpoint", "CheckpointError", "ModelError", "assign", "open_checkpoint", "rename"]

# Key prefixes in circulation. ComfyUI strips the most frequent of the first three (comfy/model_detection.py:
# unet_prefix_from_state_dict); a checkpoint with everything in it also has vae. and text_encoders.….
PREFIXES = {
    "diffusion model": ("model.diffusion_model.", "model.model.", "net."),
    "vae": ("vae.", "first_stage_model."),
    "text encoder": tuple(
        f"{place}{name}.transformer." for name in ("umt5xxl", "t5xxl") for place in ("text_encoders.", "")
    ),
    "image encoder": ("clip_vision.", "image_encoder."),
}
# The folders of a whole release (diffusers' layout).
PARTS = {
    "diffusion model": "transformer",
    "vae": "vae",
    "text encoder": "text_encoder",
    "image encoder": "image_encoder",
}
LAST_PREFIXES = ("model.", "module.")
SCALES = {"scale_weight": "scale_weight", "weight_scale": "scale_weight"}
IGNORED_SCALES = ("scale_input", "input_scale")
SCAN = 1 << 19  # elements looked at together by the search for NaN: what the processor's cache holds
# The bits, sign apart, from which an fp8 number is infinite or none.
FIRST_NOT_FINITE = {torch.float8_e4m3fn: 0x7F, torch.float8_e5m2: 0x7C}

KeyMap = Sequence[tuple[str, str | tuple[str, ...]]]


class Checkpoint(Mapping):
    """Tensors by name, mapped from `files` and read only when they are used.

    `shapes`, `dtypes`: by key. `metadata`: strings of the safetensors header. `path`: what the user named.
    """

    def __init__(self, path, files: Sequence[Path], entries: dict[str, Entry], metadata: Mapping[str, str]):
        self.path, self.files, self.metadata = Path(path), list(files), dict(metadata)
        self._entries = entries
        self.shapes = {key: entry.shape for key, entry in entries.items()}
        self.dtypes = {key: entry.dtype for key, entry in entries.items()}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, torch.Tensor], path="(memory)", metadata: Mapping[str, str] | None = None
    ) -> "Checkpoint":
        """A checkpoint of tensors that are already in memory (or on the meta device)."""
        entries = {k: Entry(tuple(v.shape), v.dtype, lambda v=v: v) for k, v in tensors.items()}
        return cls(path, [], entries, metadata or {})

    def __getitem__(self, key: str) -> torch.Tensor:
        return self._entries[key].load()

    def __iter__(self):
        return iter(self._entries)

    def __len__(self):
        return len(self._entries)

    def __contains__(self, key):
        return key in self._entries

    @property
    def config(self) -> dict | None:
        """The JSON entry "config" of the header, as our own small models carry it; None where there is none."""
        text = self.metadata.get("config")
        if text is None:
            return None
        try:
            config = json.loads(text)
        except ValueError as error:
            raise CheckpointError(f'{self.path}: the header\'s "config" entry is not JSON ({error}).') from error
        if not isinstance(config, dict):
            raise CheckpointError(f'{self.path}: the header\'s "config" entry is not a JSON object.')
        return config

    @property
    def nbytes(self) -> int:
        return sum(self.elements(key) * dtype.itemsize for key, dtype in self.dtypes.items())

    def elements(self, key: str) -> int:
        return math.prod(self.shapes[key])

    def entry(self, key: str) -> Entry:
        """The tensor unread."""
        return self._entries[key]

    def only(self, prefix: str) -> "Checkpoint":
        """The tensors below `prefix`, which is removed from their names."""
        entries = {key[len(prefix) :]: entry for key, entry in self._entries.items() if key.startswith(prefix)}
        return Checkpoint(self.path, self.files, entries, self.metadata)

    def part(self, kind: str) -> "Checkpoint":
        """The tensors of one kind ("diffusion model", "vae", "text encoder", "image encoder") without their prefix.

        A file without a known prefix is returned as it is: a checkpoint of another kind stays one.
        """
        counts = {prefix: sum(key.startswith(prefix) for key in self._entries) for prefix in PREFIXES[kind]}
        best = max(counts, key=counts.get)
        found = self.only(best) if counts[best] > 5 else self
        for prefix in LAST_PREFIXES:
            if all(key.startswith(prefix) for key in found if _last(key) not in ("scaled_fp8", "spiece_model")):
                found = found.only(prefix)
        if found is not self and "spiece_model" not in found:  # ComfyUI saves the tokenizer beside the text encoder
            stored = [key for key in self._entries if _last(key) == "spiece_model"]
            if kind == "text encoder" and stored:
                found._add("spiece_model", self._entries[stored[0]])
        return found

    def _add(self, key: str, entry: Entry) -> None:
        self._entries[key], self.shapes[key], self.dtypes[key] = entry, entry.shape, entry.dtype


def open_checkpoint(path, kind: str | None = None) -> Checkpoint:
    """Opens a .safetensors file, a folder or index of shards, or a .pth of plain weights; only headers are read yet.

    kind: of what is looked for, which in the folder of a whole release is the folder of that part.
    Raises CheckpointError naming the file: missing, empty, truncated, another format, a missing shard, code.
    """
    path = Path(path)
    if kind and (path / PARTS[kind]).is_dir():
        path = path / PARTS[kind]
    return Checkpoint(path, *read(path))


def rename(key: str, key_map: KeyMap) -> str | tuple[str, ...]:
    """`key` under the first pattern that matches it whole; several names where a fused tensor is to be split."""
    for pattern, names in key_map:
        match = re.fullmatch(pattern, key)
        if match:
            return match.expand(names) if isinstance(names, str) else tuple(match.expand(name) for name in names)
    return key


def assign(
    module: nn.Module,
    checkpoint: Mapping[str, torch.Tensor],
    *,
    key_map: KeyMap = (),
    ignore: Sequence[str] = (),
    check_finite: bool = True,
) -> nn.Module:
    """Gives every parameter and persistent buffer of `module` (built on the meta device) its tensor, uncopied, in the
    dtype of the file. The scales of scaled fp8 files (`<linear>.scale_weight` or `.weight_scale`) become buffers of
    their layer.

    key_map: (regular expression, replacement) pairs from the file's names to the module's; a tuple of replacements
    splits a fused tensor into equal parts along dim 0. ignore: expressions of file keys that may be left over.
    Axes of length one may differ.
    Raises CheckpointError with everything that does not fit: missing, left over, of another shape, NaN or infinite.
    """
    where = getattr(checkpoint, "path", "the checkpoint")
    slots = dict(module.named_parameters()) | _persistent_buffers(module)
    unused, wrong, filled = [], [], {}
    for key in checkpoint:
        names = rename(key, key_map)
        names = (names,) if isinstance(names, str) else names
        if _matches(key, ignore) or _last(key) in IGNORED_SCALES or _last(key) == "scaled_fp8":
            continue
        tensor = checkpoint[key]
        if _last(key) == "comfy_quant":
            _check_quantisation(tensor, key, where)
            continue
        if _last(names[0]) in SCALES and names[0] not in slots:
            unused += [key] if not all([_add_scale(module, name, tensor) for name in names]) else []
            continue
        if any(name not in slots for name in names):
            unused.append(key)
            continue
        parts = tensor.chunk(len(names)) if len(names) > 1 else (tensor,)
        for name, part in zip(names, parts):
            shape = slots[name].shape
            if part.shape != shape and [n for n in part.shape if n != 1] == [n for n in shape if n != 1]:
                part = part.reshape(shape)
            if part.shape != shape:
                wrong.append(f"{key} is {list(part.shape)}, the model needs {list(shape)}")
            filled[name] = key
            _put(module, name, part)
    missing = [name for name in slots if name not in filled]
    faults = [_list("missing", missing), _list("left over", unused), _list("of another shape", wrong)]
    if any(faults):
        raise CheckpointError(
            f"{where} does not fit a {type(module).__name__} of the sizes found in it: "
            + "; ".join(filter(None, faults))
            + ". It is incomplete, or of another model or version: "
            "download it again, or choose another file."
        )
    if check_finite:
        placed = dict(module.named_parameters()) | dict(module.named_buffers())
        for name, key in filled.items():
            _check_finite(placed[name], key, where)
    return module


def _persistent_buffers(module: nn.Module) -> dict[str, torch.Tensor]:
    found = {}
    for prefix, child in module.named_modules():
        for name, value in child._buffers.items():
            if value is not None and name not in child._non_persistent_buffers_set:
                found[f"{prefix}.{name}" if prefix else name] = value
    return found


def _put(module: nn.Module, name: str, tensor: torch.Tensor) -> None:
    owner, _, last = name.rpartition(".")
    owner = module.get_submodule(owner)
    if last in owner._parameters:
        owner._parameters[last] = nn.Parameter(tensor, requires_grad=False)
    else:
        owner._buffers[last] = tensor


def _add_scale(module: nn.Module, name: str, scale: torch.Tensor) -> bool:
    try:
        owner = module.get_submodule(name.rpartition(".")[0])
    except AttributeError:
        return False
    if isinstance(owner, nn.Linear):
        owner.register_buffer("scale_weight", scale)
    return isinstance(owner, nn.Linear)


def _check_quantisation(tensor: torch.Tensor, key: str, where) -> None:
    """ComfyUI's description of a layer (JSON as bytes): fp8 is told by dtype and scale anyway, others are not read."""
    try:
        form = json.loads(tensor.numpy().tobytes())["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{where}: {key!r} is not a readable description of a quantised layer.") from error
    if not str(form).startswith("float8"):
        raise CheckpointError(
            f"{where} is quantised as {form}, which is not supported. Use the fp8, fp16 or bf16 version of the model."
        )


def _check_finite(tensor: torch.Tensor, key: str, where) -> None:
    if tensor.is_meta or not tensor.is_floating_point() or tensor.numel() == 0:
        return
    for piece in tensor.detach().reshape(-1).split(SCAN):
        if not _finite(piece):
            raise CheckpointError(
                f"{where}: {key!r} holds NaN or infinite numbers, so the model could only make noise "
                "or black frames. The file is damaged or was converted badly: download it again."
            )


def _finite(piece: torch.Tensor) -> bool:
    if piece.dtype in FIRST_NOT_FINITE:  # by their bits: widening them first takes 30 times as long
        limit = FIRST_NOT_FINITE[piece.dtype]  # of positive numbers, the largest as int8; negative ones as uint8
        return int(piece.view(torch.int8).amax()) < limit and int(piece.view(torch.uint8).amax()) < limit + 0x80
    return all(math.isfinite(end.item()) for end in torch.aminmax(piece))


def _matches(key: str, patterns: Iterable[str]) -> bool:
    return any(re.fullmatch(pattern, key) for pattern in patterns)


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _list(what: str, keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{len(keys)} {what} ({', '.join(keys[:3])}{more})" if keys else ""
