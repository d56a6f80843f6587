"""What the nodes' inputs have in common: how they are declared, how a fault names its input, how values are checked.

It knows neither ComfyUI nor a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from ..trajectory import Tracks


def socket(kind: str, tooltip: str) -> tuple:
    """An input that is connected. kind: its type, such as IMAGE."""
    return kind, {"tooltip": tooltip}


def tracks_socket(more: str = "") -> tuple:
    return socket("TRACKS", f"Trajectories: of this pack, or of ComfyUI's own track nodes.{more}")


def choice(names: list[str], tooltip: str, **options) -> tuple:
    """One of `names`; a fresh node has the first."""
    return names, {"tooltip": tooltip, **options}


def integer(default: int, low: int, high: int, tooltip: str, step: int = 1, **options) -> tuple:
    return "INT", {"default": default, "min": low, "max": high, "step": step, "tooltip": tooltip, **options}


def number(default: float, low: float, high: float, step: float, tooltip: str) -> tuple:
    return "FLOAT", {"default": default, "min": low, "max": high, "step": step, "tooltip": tooltip}


def flag(default: bool, tooltip: str) -> tuple:
    return "BOOLEAN", {"default": default, "tooltip": tooltip}


def text(default: str, tooltip: str, **options) -> tuple:
    return "STRING", {"default": default, "tooltip": tooltip, **options}


def file_prefix(default: str) -> tuple:
    return text(default, "Beginning of the file's name in the output folder; a number follows.")


class InputError(ValueError):
    """A node input cannot be used; the message begins with the input's name."""

    __module__ = "Trajectory"  # ComfyUI's error dialog shows it; the real one would be a long path there


def verdict(look: Callable[[], object]) -> bool | str:
    """For ComfyUI's check before a run: True, or the sentence of the InputError that look() raises."""
    try:
        look()
    except InputError as error:
        return str(error)
    return True


def saved(path: Path) -> dict:
    """What a node gives that has written a file: its path, shown and as the output."""
    return {"ui": {"text": [str(path)]}, "result": (str(path),)}


@contextmanager
def naming(node_input: str) -> Iterator[None]:
    """Faults of what happens inside are raised again as an InputError that begins with the input's name."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise InputError(f"{node_input}: {error}") from error


def check_image(image: Tensor, node_input: str) -> Tensor:
    """An IMAGE batch [frames, height, width, 3], float in 0..1, without an alpha channel."""
    if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[-1] not in (3, 4) or 0 in image.shape:
        found = list(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise InputError(f"{node_input}: an IMAGE is [frames, height, width, 3] in 0..1; this is {found}.")
    return image[..., :3]


def as_tracks(value, node_input: str) -> Tracks:
    """The TRACKS socket's dict as Tracks."""
    with naming(node_input):
        return Tracks.from_comfy(value)


def canvas_of(width: int, height: int, image: Tensor | None) -> tuple[int, int] | None:
    """(width, height) of what tracks were drawn on: the two numbers, else the picture's size, else unknown."""
    if (width > 0) != (height > 0):
        raise InputError(f"canvas_width, canvas_height: {width}x{height} is no size. Give both, or leave both at 0.")
    if width:
        return width, height
    return None if image is None else (image.shape[2], image.shape[1])
