"""The pictures and clips that the VAEs learn from, made once by several processes and kept in files. Knows no model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import clips, photos
from .processes import in_processes, write

PIECE = 200  # pictures or clips of a file


def stills(folder: Path, count: int, processes: int) -> Tensor:
    """uint8 [count, 1, 96, 96, 3]; the files in `folder` that are missing are made."""
    return torch.cat(pieces(folder, "stills", count, make_stills, processes))[:count]


def moving(folder: Path, size: tuple[int, int], count: int, processes: int) -> tuple[Tensor, Tensor]:
    """Clips of one size, uint8 [count, frames, height, width, 3], and their motion in percent, uint8 [count, frames,
    height, width]."""
    found = pieces(folder, f"{size[0]}x{size[1]}", count, make_moving, processes)
    video, motion = (torch.cat(parts)[:count] for parts in zip(*found))
    return video, motion


def pieces(folder: Path, name: str, count: int, make: Callable, processes: int) -> list:
    """What the files <name>_<number of its first>.pt hold."""
    files = [(first, folder / f"{name}_{first:05d}.pt") for first in range(0, count, PIECE)]
    in_processes(name, make, files, processes, begin, first=photos.ensure)
    return [torch.load(file, weights_only=True) for _, file in files]


def begin() -> None:
    """Of each process: the photographs."""
    begin.photos = photos.load(False)


def make_stills(first: int, file: Path) -> None:
    seeds = [[11, i] for i in range(first, first + PIECE)]
    made = [clips.make_still(begin.photos, np.random.default_rng(seed)) for seed in seeds]
    write(file, torch.from_numpy(np.stack(made)[:, None]))


def make_moving(first: int, file: Path) -> None:
    size = tuple(int(side) for side in file.stem.split("_")[0].split("x"))
    seeds = [[12, clips.SIZES.index(size), i] for i in range(first, first + PIECE)]
    made = [clips.make_clip(begin.photos, np.random.default_rng(seed), size) for seed in seeds]
    video, motion = np.stack([clip.video for clip in made]), np.stack([clip.motion for clip in made])
    write(file, (torch.from_numpy(video), torch.from_numpy((motion * 100).round().astype(np.uint8))))
