"""Camera poses as text: the files of CameraCtrl and RealEstate10K, and the JSON that EasyAnimate's own nodes exchange.
Knows these formats alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from .files import read_bytes, write_files
from .poses import CameraPoses
from .tracks import TracksError

LINE = (
    "a line is 19 numbers: time, focal lengths x and y, centre x and y, two zeros, and a 3 x 4 world-to-camera matrix"
)
MICROSECONDS = 1_000_000


def parse_poses(text: str) -> CameraPoses:
    """Poses from the lines of a CameraCtrl or RealEstate10K file, whose first line may be a web address, or from a JSON
    list of poses, 18 numbers each (the same without the time). TracksError says which line is wrong."""
    if text.lstrip().startswith("["):
        return from_rows(json_rows(text), "pose")
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if lines and numbers(lines[0][1]) is None and len(lines[0][1]) < 18:
        lines = lines[1:]  # where the clip came from
    rows = []
    for number, words in lines:
        row = numbers(words)
        if row is None:
            raise TracksError(f"line {number} of the camera poses is not made of numbers; {LINE}.")
        rows.append((number, row))
    return from_rows(rows, "line")


def numbers(words: list[str]) -> list[float] | None:
    try:
        return [float(word) for word in words]
    except ValueError:
        return None


def json_rows(text: str) -> list[tuple[int, list[float]]]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TracksError(f"the camera poses begin like JSON but are none: {error}.") from None
    for index, row in enumerate(rows):
        good = isinstance(row, list) and all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in row)
        if not good:
            raise TracksError(f"pose {index} of the camera poses is not a list of numbers.")
    return list(enumerate(rows))


def from_rows(rows: list[tuple[int, list[float]]], name: str) -> CameraPoses:
    if not rows:
        raise TracksError(f"there are no camera poses in this text; {LINE}.")
    for number, row in rows:
        if len(row) not in (18, 19):
            raise TracksError(f"{name} {number} of the camera poses has {len(row)} numbers; {LINE}.")
    values = np.array([row[-18:] for _, row in rows])
    return CameraPoses(values[:, 6:].reshape(-1, 3, 4), values[:, :4])


def to_text(poses: CameraPoses, fps: float = 8.0) -> str:
    """The lines of a CameraCtrl file, under a first line that names no clip; time in microseconds."""
    lines = ["camera poses"]
    for index, row in enumerate(rows_of(poses)):
        lines.append(" ".join([str(round(index * MICROSECONDS / fps)), *(f"{value:.9f}" for value in row)]))
    return "\n".join(lines) + "\n"


def to_json(poses: CameraPoses) -> str:
    """What EasyAnimate's own nodes take as `camera_conditions`."""
    return json.dumps(rows_of(poses))


def rows_of(poses: CameraPoses) -> list[list[float]]:
    zeros = np.zeros((poses.frames, 2))
    return np.concatenate([poses.lens, zeros, poses.world_to_camera.reshape(-1, 12)], axis=1).tolist()


def read_poses(path: str | Path) -> CameraPoses:
    """Poses from a file; TracksError naming it."""
    try:
        return parse_poses(read_bytes(path).decode("utf-8"))
    except UnicodeDecodeError:
        raise TracksError(f"{path}: camera poses are text, this file is not.") from None
    except TracksError as error:
        raise TracksError(str(error) if str(path) in str(error) else f"{path}: {error}") from None


def write_poses(path: str | Path, poses: CameraPoses, fps: float = 8.0) -> Path:
    write_files({Path(path): to_text(poses, fps).encode("utf-8")})
    return Path(path)
