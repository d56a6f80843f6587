"""Tora's trajectory files: one object a file, one 'x, y' a line, on a canvas of 256 x 256. And the release's own way
from there to one pixel a frame, for comparison. Knows the official format and its quirks; knows no model and no
ComfyUI."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from .coordinates import join
from .files import read_bytes
from .tracks import MAX_COORDINATE, Tracks, TracksError, check_size

SIDE = 256  # of the canvas
LINE = re.compile(r"\s*([-+.\deE]+)\s*,\s*([-+.\deE]+)\s*")
PART = re.compile(r"(.+)_(\d+)of(\d+)(\.txt)", re.IGNORECASE)


def is_tora(data: bytes) -> bool:
    """Whether the first line that is not empty is 'x, y'."""
    line = next((line for line in data[:4096].splitlines() if line.strip()), b"")
    return LINE.fullmatch(line.decode("utf-8-sig", "replace")) is not None


def decode_tora(data: bytes, name: str) -> list[tuple[float, float]]:
    """The points of one file. TracksError with the line where it is not two numbers."""
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise TracksError(f"{name}: not UTF-8 text.") from None
    points = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = LINE.fullmatch(line)
        try:
            point = tuple(float(value) for value in match.groups()) if match else ()
        except ValueError:
            point = ()
        if len(point) != 2 or not all(math.isfinite(value) and abs(value) <= MAX_COORDINATE for value in point):
            raise TracksError(f"{name}, line {number}: {line.strip()[:40]!r} is not a point such as '76, 161'.")
        points.append(point)
    if not points:
        raise TracksError(f"{name}: no points in it.")
    check_size(len(points), 1)
    return points


def read_tora(paths: Sequence[Path], contents: Mapping[Path, bytes] = {}) -> Tracks:
    """The objects of several files as tracks of one clip, each resampled to the longest. contents: of files that were
    read already."""
    read = {path: contents[path] if path in contents else read_bytes(path) for path in paths}
    lists = [[(*point, True) for point in decode_tora(data, str(path))] for path, data in read.items()]
    return join(lists, canvas=(SIDE, SIDE))


def parts_of(path: Path) -> list[Path]:
    """The files of the objects that were written together: of x_2of3.txt all three, else the file alone."""
    match = PART.fullmatch(path.name)
    if not match or not 1 <= int(match[2]) <= int(match[3]) <= 1000:
        return [path]
    parts = [path.with_name(f"{match[1]}_{number}of{match[3]}{match[4]}") for number in range(1, int(match[3]) + 1)]
    missing = [part for part in parts if not part.is_file()]
    if missing:
        raise TracksError(f"{missing[0]} is missing: {path.name} is one of {len(parts)} files that belong together.")
    return parts


def encode_tora(tracks: Tracks, path: Path) -> dict[Path, bytes]:
    """{file: content}: `path` for one track, x_1of3.txt and so on for several. Whole numbers, as Tora's reader needs;
    the format has no visibility. Tracks without a canvas are taken to be on Tora's."""
    on_canvas = tracks.resize(SIDE, SIDE, source=(SIDE, SIDE)).path.round().long()
    count = tracks.count
    paths = (
        [path]
        if count == 1
        else [path.with_name(f"{path.stem}_{i}of{count}{path.suffix}") for i in range(1, count + 1)]
    )
    return {
        file: "".join(f"{x}, {y}\n" for x, y in on_canvas[:, i].tolist()).encode() for i, file in enumerate(paths)
    }


# What the release does with a file, kept apart because it is not what this pack does: it thins or repeats points, cuts
# the tail off trajectories of between one and two clips' length, and rounds down twice. alibaba/Tora traj_utils.py.

NOWHERE = (512, 512)  # what a trajectory of one point becomes


def official_read(points: Sequence[Sequence[int]], frames: int, reverse: bool = False) -> list[tuple[int, int]]:
    """read_points of the content of a file: thinned, then cut at `frames`."""
    points = [tuple(point) for point in points]
    points = points[::-1] if reverse else points
    return (points[:: len(points) // frames] if len(points) > frames else points)[:frames]


def official_processed(points: Sequence[Sequence[int]], frames: int) -> list[tuple[int, int]]:
    """process_points: exactly `frames` points, those between given ones on straight lines, in whole numbers."""
    points = [tuple(point) for point in points]
    count = len(points)
    if count < 2:
        return [NOWHERE] * frames
    if count >= frames:
        return points[:: count // frames][: frames - 1] + points[-1:]
    each, more = divmod(frames - count, count - 1)
    found = []
    for i, ((x0, y0), (x1, y1)) in enumerate(zip(points, points[1:])):
        extra = each + (i < more)
        shares = [j / (extra + 1) for j in range(1, extra + 1)]
        found += [(x0, y0), *((int(x0 + s * (x1 - x0)), int(y0 + s * (y1 - y0))) for s in shares)]
    return found + points[-1:]


def official_pixels(points: Sequence[Sequence[int]], frames: int, width: int, height: int) -> Tensor:
    """[frames, 2] int64, pixels of the video, of the points in one file."""
    processed = official_processed(official_read(points, frames), frames)
    return torch.tensor([[int(width * x / SIDE), int(height * y / SIDE)] for x, y in processed])


def comfy_points(points: Sequence[Sequence[float]], width: int, height: int) -> list[tuple[int, int]]:
    """Pixels of a canvas on Tora's: kijai/ComfyUI-CogVideoXWrapper tora/traj_utils.py:scale_traj_list_to_256."""
    across, down = SIDE / width, SIDE / height
    return [(int(x * across), int(y * down)) for x, y in points]


def official_tracks(pixels: Sequence[Tensor], width: int, height: int) -> Tracks:
    """Tracks that give the flow of process_traj: where two objects stand on one pixel, only the later one moves it.

    pixels: [frames, 2] of each object.
    """
    path = torch.stack(list(pixels), dim=1).float()  # [frames, objects, 2]
    same = (path[:, :, None] == path[:, None]).all(-1)  # [frames, objects, objects]
    later = torch.ones(same.shape[1:], dtype=torch.bool).triu(1)
    return Tracks(path, ~(same & later).any(-1), (width, height))
