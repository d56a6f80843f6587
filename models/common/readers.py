"""From a path to lazily mapped tensors: safetensors, shards with or without an index, torch pickles of plain weights.
Knows file formats only: no prefixes, no families, no modules."""

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import torch

from .entry import Entry
from .errors import CheckpointError
from .gguf import read_gguf

# Names of the safetensors header (huggingface/safetensors, README "Format").
SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
PICKLES = (".pth", ".pt", ".bin", ".ckpt")
SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.safetensors)")
MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors format itself
# Where training scripts put the weights inside a pickle that holds more than weights.
WEIGHT_ENTRIES = ("state_dict", "model_state_dict", "model", "module")


def read(path: Path) -> tuple[list[Path], dict[str, Entry], dict[str, str]]:
    """The files that belong to `path`, their tensors by name, and the metadata of the header.

    `path`: a .safetensors file (or one of its shards), an index json, a folder, or a torch pickle (.pth and the like).
    Raises CheckpointError naming the file.
    """
    files = find_files(path)
    entries, metadata = {}, {}
    for file in files:
        more, header = reader_of(file)(file)
        twice = [key for key in more if key in entries]
        if twice:
            raise CheckpointError(
                f"{file}: {twice[0]!r} is already in another shard of {path}. The shards belong to "
                "different models or versions: download them again from one place."
            )
        entries.update(more)
        metadata.update(header)
    if not entries:
        raise CheckpointError(f"{path} holds no tensors. Download the file again.")
    return files, entries, _config_beside(path, files[0]) | metadata


def reader_of(file: Path) -> Callable[[Path], tuple[dict[str, Entry], dict[str, str]]]:
    ending = file.suffix.lower()
    return _read_pickle if ending in PICKLES else read_gguf if ending == ".gguf" else _read_safetensors


def _config_beside(path: Path, file: Path) -> dict[str, str]:
    """The config.json of a diffusers folder, as the entry that a header could hold; nothing of other files'
    neighbours."""
    config = file.with_name("config.json")
    if not (path.is_dir() or file.name.startswith("diffusion_pytorch_model")) or not config.is_file():
        return {}
    try:
        text = config.read_text("utf-8")
        ours = "_class_name" in json.loads(text)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{config} cannot be read as JSON ({error}). Download it again.") from error
    return {"config": text} if ours else {}


def find_files(path: Path) -> list[Path]:
    """Every file behind `path`, in order; a missing shard is an error that names it."""
    if not path.exists():
        raise CheckpointError(f"{path} does not exist. Check the spelling, or download the file to that place.")
    if path.is_dir():
        return _files_of_folder(path)
    if path.name.endswith(".json"):
        return _files_of_index(path)
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty (0 bytes). Download the file again.")
    return _siblings(path)


def _files_of_folder(folder: Path) -> list[Path]:
    indices = sorted(folder.glob("*.safetensors.index.json"))
    if len(indices) == 1:
        return _files_of_index(indices[0])
    for pattern in ("*.safetensors", "*.pth", "*.pt", "*.bin", "*.ckpt"):
        found = sorted(folder.glob(pattern))
        if found and all(file in _siblings(found[0]) for file in found):
            return _siblings(found[0])
        if found:
            names = ", ".join(file.name for file in found[:6])
            raise CheckpointError(f"{folder} is a folder of several checkpoints ({names}). Name one of these files.")
    parts = [part for part in ("transformer", "vae", "text_encoder", "image_encoder") if (folder / part).is_dir()]
    if parts:
        raise CheckpointError(
            f"{folder} is a diffusers pipeline folder with the parts {', '.join(parts)}. "
            "Name the part, or use the original single-file release of the model."
        )
    raise CheckpointError(f"{folder} is a folder without a checkpoint (*.safetensors, *.pth). Name the model file.")


def _files_of_index(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f'{index} is not an index of shards: it lacks a readable "weight_map" ({error!r}). '
            "Name the model file, or download the index again."
        ) from error
    files = [index.parent / name for name in names]
    _check_shards(files)
    return files


def _siblings(file: Path) -> list[Path]:
    """All shards of the model when `file` is named like one (x-00001-of-00007.safetensors), else the file alone."""
    match = SHARD.fullmatch(file.name)
    if not match:
        return [file]
    stem, _, count, ending = match.groups()
    files = [file.parent / f"{stem}-{number:05d}-of-{count}{ending}" for number in range(1, int(count) + 1)]
    _check_shards(files)
    return files


def _check_shards(files: list[Path]) -> None:
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(
            f"{missing[0]} is missing ({len(missing)} of {len(files)} shards are). "
            "Download the missing shards next to the others."
        )


def read_header(file: Path) -> tuple[dict, dict[str, str], int]:
    """A safetensors header: ({key: {"dtype", "shape", "data_offsets"}}, metadata, bytes of data that should follow).

    Says apart what looks alike to a user: not a safetensors file, and a download that stopped.
    """
    size = file.stat().st_size
    with open(file, "rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        looks_right = 2 <= length <= MAX_HEADER and stream.read(1) == b"{"
        if not looks_right:
            raise CheckpointError(f"{file} is not a safetensors file{_what_it_is(start)}. Download the file again.")
        if 8 + length > size:
            raise CheckpointError(
                f"{file} is truncated: it ends inside its header, after {size:,} bytes. Download the file again."
            )
        stream.seek(8)
        raw = stream.read(length)
    try:
        header = json.loads(raw)
        metadata = header.pop("__metadata__", None) or {}
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(
            f"{file} has a damaged safetensors header ({error!r}). Download the file again."
        ) from error
    if 8 + length + end > size:
        raise CheckpointError(
            f"{file} is truncated: {size:,} of {8 + length + end:,} bytes are there. Download the file again."
        )
    return header, metadata, end


def _what_it_is(start: bytes) -> str:
    if start.startswith(b"version "):
        return " but a Git LFS pointer (the weights themselves were not downloaded)"
    if start.startswith((b"<!DOCTYP", b"<!doctyp", b"<html")):
        return " but a web page (the download link led to a page, not to the file)"
    if start.startswith(b"PK"):
        return " but a torch or zip archive: rename it to .pth if it is a torch checkpoint"
    if start.startswith(b"GGUF"):
        return " but a GGUF file: give it that ending"
    return ""


class _Mapped:
    """A safetensors file that is mapped when the first of its tensors is used: what it holds is told from its header,
    also on a machine that could not map it."""

    def __init__(self, file: Path):
        self.file, self.handle = file, None

    def tensor(self, key: str) -> torch.Tensor:
        from safetensors import SafetensorError, safe_open

        try:
            self.handle = self.handle or safe_open(str(self.file), framework="pt", device="cpu")
            return self.handle.get_tensor(key)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{self.file} cannot be read as safetensors ({error}). Download the file again."
            ) from error


def _read_safetensors(file: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    header, metadata, _ = read_header(file)
    mapped = _Mapped(file)
    entries = {}
    for key, entry in header.items():
        dtype = SAFETENSORS_DTYPES.get(entry["dtype"])
        if dtype is None:
            raise CheckpointError(
                f"{file}: {key!r} is stored as {entry['dtype']}, which is not supported. Use the "
                "fp16, bf16 or fp8 version of the model."
            )
        entries[key] = Entry(tuple(entry["shape"]), dtype, lambda key=key: mapped.tensor(key))
    return entries, metadata


def _read_pickle(file: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """Plain weights only: torch's restricted unpickler refuses code, and nothing of it is run."""
    content = _load_pickle(file)
    while isinstance(content, dict) and not any(isinstance(value, torch.Tensor) for value in content.values()):
        inner = next((content[name] for name in WEIGHT_ENTRIES if isinstance(content.get(name), dict)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{file} holds a {type(content).__name__}, not a model's weights by name. "
            "Check that this is the model file (a track file belongs to the track nodes)."
        )
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}
    return {
        key: Entry(tuple(value.shape), value.dtype, lambda value=value: value.detach())
        for key, value in tensors.items()
    }, {}


def _load_pickle(file: Path):
    import pickle

    try:
        try:
            return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap can only be used" not in str(error):
                raise
            return torch.load(file, map_location="cpu", weights_only=True)  # torch before 1.6: cannot be mapped
    except pickle.UnpicklingError as error:
        if "Unsupported global" in str(error) or "Unsupported class" in str(error) or "GLOBAL" in str(error):
            name = re.search(r"GLOBAL ([\w.]+)", str(error))
            what = f" ({name.group(1)})" if name else ""
            raise CheckpointError(
                f"{file} contains program code{what}, not only weights. Nothing of it was run. "
                "Get the .safetensors version of the model."
            ) from error
        raise CheckpointError(f"{file} is not a readable torch checkpoint. Download the file again.") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(
            f"{file} is truncated or not a torch checkpoint ({str(error).splitlines()[0][:200]}). "
            "Download the file again."
        ) from error
