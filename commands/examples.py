"""`examples`: a list of pictures, prompts and track files in ATI's format, and the folders that ATI's demo writes.

outputs/NNN.mp4, outputs_vis/NNN_viz.mp4 and images_tracks/NN.jpg: bytedance/ATI run_example.sh, generate.py,
tools/visualize_trajectory.py and tools/plot_user_inputs.py.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..trajectory import read_tracks
from ..trajectory.draw import draw_paths
from .files import read_image, write_image, write_video
from .generate import Pipeline, overlay

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    image: Path
    text: str
    track: Path


def read_list(path: Path) -> list[Example]:
    """A YAML list of entries with `image`, `text` and `track`; files lie beside the list or in the current folder.

    ValueError naming the list and the entry.
    """
    import yaml

    try:
        entries = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such list.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is not a YAML list: {' '.join(str(error).split())}") from error
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: a list of entries with image, text and track is needed.")
    return [read_entry(path, number, entry) for number, entry in enumerate(entries)]


def read_entry(path: Path, number: int, entry) -> Example:
    if not isinstance(entry, dict):
        raise ValueError(f"{path}, entry {number}: image, text and track are needed.")
    values = {name: entry.get(name) for name in ("image", "text", "track")}
    for name, value in values.items():
        if not isinstance(value, str):
            raise ValueError(f"{path}, entry {number}: {name} is missing.")
    for name in ("image", "track"):
        places = [path.parent / values[name], Path(values[name])]
        values[name] = next((place for place in places if place.is_file()), None)
        if values[name] is None:
            raise ValueError(
                f"{path}, entry {number}: {name} '{entry[name]}' is neither beside the list nor in the current folder."
            )
    return Example(values["image"], values["text"].strip(), values["track"])


def run_examples(
    path: Path, pipeline: Callable[[], Pipeline], folder: Path, *, seed: int, negative: str, overwrite: bool
) -> list[Path]:
    """Makes every video of the list and the drawings; existing videos stay unless `overwrite`. -> files made."""
    examples = read_list(path)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, folder / path.name)
    made, ready = [], None
    for number, example in enumerate(examples):
        image = read_image(example.image)
        tracks = read_tracks(example.track, canvas=(image.shape[2], image.shape[1]))
        made.append(write_image(folder / "images_tracks" / f"{number:02d}.jpg", draw_paths(image[0], tracks)))
        video = folder / "outputs" / f"{number:03d}.mp4"
        if video.exists() and not overwrite:
            log.warning("%s exists and is kept; --overwrite makes it again.", video)
            continue
        ready = ready or pipeline()
        frames, on_video = ready.video(image, tracks, example.text, negative, seed)
        made.append(write_video(video, frames, ready.fps))
        made.append(write_video(folder / "outputs_vis" / f"{number:03d}_viz.mp4", overlay(frames, on_video), ready.fps))
    return made
