"""What the nodes ask of what they run in: folders, devices and memory, progress, previews, interruption, saving places.

`host` is a `ComfyHost` (comfy_host.py) inside a running ComfyUI and a `PlainHost` everywhere else; both answer the same
questions. It knows no node and no maths.
"""

from __future__ import annotations

import logging
import os
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from .inputs import InputError

log = logging.getLogger(__name__)

PACK = Path(__file__).resolve().parents[1]
EXAMPLES = PACK / "web" / "examples"
EMBEDDED_FOLDER = PACK / "models" / "embedded"
# ComfyUI's folder of a kind of model, and how the shipped small files of that kind end.
EMBEDDED_ENDINGS = {
    "diffusion_models": "_transformer.safetensors", "vae": "_vae.safetensors",
    "text_encoders": "_text_encoder.safetensors", "clip_vision": "_image_encoder.safetensors",
}  # fmt: skip
# The shipped files under one name on every system; a slash, so that no file of a Windows folder is named alike.
EMBEDDED, EXAMPLE = "embedded/", "example/"
MODEL_ENDINGS = (".safetensors", ".sft", ".pth", ".pt", ".bin", ".ckpt")
BACKGROUND_SIDE, MOST_BACKGROUNDS = 1280, 32  # pixels and pictures of what the editor shows behind the tracks
PREVIEW_SIDE = 512  # pixels, the longest side of a preview


def embedded_files(kind: str) -> list[str]:
    files = EMBEDDED_FOLDER.glob("*" + EMBEDDED_ENDINGS[kind]) if kind in EMBEDDED_ENDINGS else ()
    return sorted(EMBEDDED + file.name for file in files)


def example_files(endings: tuple[str, ...]) -> list[str]:
    return sorted(EXAMPLE + file.name for file in EXAMPLES.glob("*") if file.suffix.lower() in endings)


def find(names: list[str], name: str) -> str | None:
    """The entry of `names` that is `name`, whichever way its slashes lean (workflows travel between systems)."""
    wanted = name.replace("\\", "/")
    return next((entry for entry in names if entry.replace("\\", "/") == wanted), None)


def file_name(model) -> str:
    """Of a model, for sentences."""
    return model.path.name if model.path else type(model.module).__name__


def weight_bytes(model) -> int:
    return sum(value.nbytes for value in (*model.module.parameters(), *model.module.buffers()))


def memory_sentence(model, device, size: int, there: int, working: int, doing: str) -> str:
    """What was loaded, where, and what is expected beside it. size, there, working: bytes of the weights, of those on
    the device, and of what `doing` needs."""
    place = f"{there / 2**20:,.1f} of {size / 2**20:,.1f} MiB on {device}"
    if there < size:
        place += ", the rest is lent to it for each use"
    expected = f"; {working / 2**20:,.1f} MiB more are expected to be needed" if working else ""
    return f"{doing or 'using it'}: {file_name(model)}, {place}{expected}."


class Host:
    """What both hosts share: the pack's own files come along in every list."""

    def model_files(self, kind: str) -> list[str]:
        """The names to choose from: the user's files first, so that a fresh node picks one of them if there is any."""
        return self._model_files(kind) + embedded_files(kind)

    def model_path(self, kind: str, name: str, node_input: str) -> Path:
        """The file behind an entry of `model_files`. InputError naming the input and the folder."""
        if find(embedded_files(kind), name):
            return EMBEDDED_FOLDER / name.replace("\\", "/")[len(EMBEDDED) :]
        path = self._model_path(kind, name)
        if path is None:
            raise InputError(
                f"{node_input}: '{name}' is not among the model files. Put it into {self.folder_of(kind)}, refresh the "
                "list (R in ComfyUI), or choose another file."
            )
        return path

    def input_files(self, endings: tuple[str, ...]) -> list[str]:
        """Files of the input folder with one of these endings (lower case, with the dot), and the pack's examples."""
        found = (
            (file for file in self.input_folder().glob("*") if file.is_file()) if self.input_folder().is_dir() else ()
        )
        return sorted(file.name for file in found if file.suffix.lower() in endings) + example_files(endings)

    def input_path(self, name: str, node_input: str) -> Path:
        """The file behind an entry of `input_files`. InputError naming the input and the folder."""
        name = name.replace("\\", "/")
        if name.startswith(EXAMPLE):
            path = EXAMPLES / Path(name).name
        else:
            path = self._input_path(name)
        if not path.is_file():
            raise InputError(
                f"{node_input}: there is no file '{name}' in {self.input_folder()}. "
                "Put it there, or choose another file."
            )
        return path

    def tiny_decoder(self, name: str) -> Path | None:
        """The user's file of a tiny decoder for previews, whose name begins so, from the folder vae_approx."""
        files = self._model_files("vae_approx")
        found = next((file for file in files if Path(file.replace("\\", "/")).name.startswith(name)), None)
        return found and self._model_path("vae_approx", found)

    def own_tokenizer(self, folder: str) -> Path | None:
        """A folder with a tokenizer that the host carries itself, for text encoders whose file has none."""

    def show_background(self, frames: Tensor) -> list[dict]:
        """Hands what an editor's node was given, [frames, height, width, 3] in 0..1, to the browser at once, so that it
        is seen even where the node then fails. -> pictures as ComfyUI's /view names them; none without a browser."""
        return []

    def on_post(self, route: str, answer: Callable[[bytes, dict], dict]) -> None:
        """Answers POST requests of the browser: answer(body, query) gives JSON; its ValueError is told as {"error"}."""

    def output_path(self, prefix: str, ending: str) -> Path:
        """A file that does not exist yet: <output folder>/<prefix>_00001_<ending>; `prefix` may name subfolders."""
        folder, name, counter = self._output_place(prefix)
        return folder / f"{name}_{counter:05}_{ending}"


class PlainHost(Host):
    """Outside ComfyUI: folders below $TRAJECTORY_MODELS (or ./models), ./input and ./output, one device for all.

    device: where models run ($TRAJECTORY_DEVICE, else the first GPU, else the CPU). make_bar(label, total): a progress
    bar with `update(n)` and `close()`, such as tqdm; None shows nothing.
    """

    def __init__(self) -> None:
        self.make_bar: Callable | None = None
        self.output_folder = Path("output")
        self._loaded: list[weakref.ref] = []

    def device(self, kind: str = "diffusion_models") -> torch.device:
        named = os.environ.get("TRAJECTORY_DEVICE")
        return torch.device(named or ("cuda" if torch.cuda.is_available() else "cpu"))

    def root(self) -> Path:
        return Path(os.environ.get("TRAJECTORY_MODELS") or "models")

    def folder_of(self, kind: str) -> str:
        return str(self.root() / kind)

    def _model_files(self, kind: str) -> list[str]:
        folder = self.root() / kind
        files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in MODEL_ENDINGS)
        return [file.relative_to(folder).as_posix() for file in files]

    def _model_path(self, kind: str, name: str) -> Path | None:
        name = name.replace("\\", "/")
        return next((path for path in (self.root() / kind / name, Path(name)) if path.exists()), None)

    def input_folder(self) -> Path:
        return Path("input")

    def _input_path(self, name: str) -> Path:
        inside = self.input_folder() / name
        return inside if inside.is_file() else Path(name)

    def _output_place(self, prefix: str) -> tuple[Path, str, int]:
        folder = self.output_folder / Path(prefix).parent
        folder.mkdir(parents=True, exist_ok=True)
        name = Path(prefix).name
        taken = [file.name[len(name) + 1 :].split("_")[0] for file in folder.glob(f"{name}_*")]
        return folder, name, max((int(number) for number in taken if number.isdigit()), default=0) + 1

    def place(self, kind: str) -> torch.device:
        """Where the weights of a model of that kind lie when it was loaded."""
        return self.device(kind)

    def make_room(self, weights_bytes: int, kind: str) -> None:
        """Called before a model of that size is loaded onto the device."""
        self.clear_device(keep=None)

    def manage(self, model, kind: str):
        """Called with a model that was just loaded onto its device."""
        self._loaded = [weakref.ref(model)]
        return model

    def clear_device(self, keep) -> None:
        """Moves models to the CPU where they would share a GPU's memory with `keep`."""
        kept = getattr(keep, "module", keep)  # a model and the same one with a LoRA share their weights
        for reference in self._loaded:
            other = reference()
            if other is not None and getattr(other, "module", other) is not kept and self.device().type != "cpu":
                other.to("cpu")

    def ready(self, model, working_bytes: int = 0, doing: str = "") -> None:
        """Moves the model to its device, and others off it. working_bytes: what `doing` needs too, for the log."""
        self.clear_device(keep=model)
        self._loaded = [weakref.ref(model)]
        model.to(self.device())
        size = weight_bytes(model)
        log.info(memory_sentence(model, self.device(), size, size, working_bytes, doing))

    def free(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def free_memory(self, model) -> int | None:
        """Bytes that what is now done with the model may take on its device; None where nobody keeps count."""
        if model.device.type != "cuda":
            return None
        kept = torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
        return torch.cuda.mem_get_info(model.device)[0] + kept

    def is_out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, torch.OutOfMemoryError)

    def check_cancelled(self) -> None:
        """Ctrl-C raises KeyboardInterrupt by itself."""

    def progress(self, total: int, label: str) -> Progress:
        return PlainProgress(total, self.make_bar(label, total) if self.make_bar else None)


class Progress:
    """A bar of `total` steps. `update(done, picture)`: steps done, and perhaps a preview [height, width, 3] in 0..1."""

    def __init__(self, total: int, bar) -> None:
        self.total, self.bar, self.done = total, bar, 0

    shows = False  # whether anybody sees the pictures

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *failure) -> None:
        pass


class PlainProgress(Progress):
    def update(self, done: int, picture: Tensor | None = None) -> None:
        if self.bar is not None:
            self.bar.update(done - self.done)
        self.done = done

    def __exit__(self, *failure) -> None:
        if self.bar is not None:
            self.bar.close()


def running_in_comfyui() -> bool:
    """ComfyUI has loaded its own modules long before it imports a node pack; nothing is imported to find out."""
    return all(name in sys.modules for name in ("folder_paths", "comfy.model_management", "comfy.utils"))


def choose() -> Host:
    if not running_in_comfyui():
        return PlainHost()
    from .comfy_host import ComfyHost  # which stands on what is above

    return ComfyHost()


host = choose()
