"""Coordinates as JSON text: what KJNodes' spline editors give and ComfyUI's core track nodes take.
Knows that text alone; files and our own document are in formats.py."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

import torch

from .tracks import MAX_COORDINATE, MAX_POINTS, Tracks, TracksError, check_size

MAX_TEXT = 64 * 1024 * 1024  # characters
MAX_DEPTH = 8  # lists in lists of tracks
Point = tuple[float, float, bool]
EXAMPLE = '[{"x": 100, "y": 80}, {"x": 140.5, "y": 96}]'


def parse_coordinates(
    text: str | Sequence[str], *, frames: int | None = None, canvas: tuple[int, int] | None = None
) -> Tracks:
    """Tracks from JSON text: one track [{"x": 1, "y": 2}, …] (or [[1, 2], …]), many, or nested lists of them at any
    depth, which are all joined; a list of such texts too. Single quotes are accepted, "visible" in a point is read.

    Every track drives the whole clip: each is resampled in time to `frames`, by default to the longest track.
    TracksError says which track and point is wrong.
    """
    return join([track for entry in parse_batches(text) for track in entry], frames, canvas)


def parse_batches(text: str | Sequence[str]) -> list[list[list[Point]]]:
    """The tracks of each batch entry, points as written: [entries][tracks][points] of (x, y, visible). Text that is not
    nested to that depth is one entry (comfy_extras/nodes_wan.py:parse_json_tracks makes one video an entry)."""
    value = load_json(text) if isinstance(text, str) else [load_json(part) for part in text]
    if not isinstance(value, list):
        raise TracksError(f"Coordinates are a list of points such as {EXAMPLE}, not {kind(value)}.")
    if not value:
        raise TracksError(f"The coordinates hold no tracks; expected JSON such as {EXAMPLE}.")
    reader = Reader()
    nested = all(is_group(entry) and entry and all(map(is_group, entry)) for entry in value)
    return [reader.tracks(entry) for entry in value] if nested else [reader.tracks(value)]


def to_coordinates(tracks: Tracks) -> str:
    """JSON text that KJNodes and core track nodes read; parts of a pixel are kept. One track is a flat list, several a
    list of lists. A point that is not visible carries "visible": false, which others ignore."""
    lists = [
        [point if visible else {**point, "visible": False} for point, visible in zip(points, visibility)]
        for points, visibility in (
            ([{"x": x, "y": y} for x, y in exact(tracks.path[:, i])], tracks.visibility[:, i].tolist())
            for i in range(tracks.count)
        )
    ]
    return json.dumps(lists[0] if len(lists) == 1 else lists)


def exact(path: torch.Tensor) -> list[list[float]]:
    """[points, 2] float32 as the shortest numbers that read back the same."""
    return [[float(value) for value in row] for row in path.numpy().astype(str)]


def join(lists: list[list[Point]], frames: int | None = None, canvas: tuple[int, int] | None = None) -> Tracks:
    """Tracks of point lists of any lengths, each resampled to `frames` or the longest."""
    length = frames or max(map(len, lists))
    check_size(length, len(lists))
    resampled = []
    for points in lists:
        values = torch.tensor([point[:2] for point in points], dtype=torch.float32)[:, None]
        visible = torch.tensor([point[2] for point in points])[:, None]
        resampled.append(Tracks(values, visible).resample(length))
    return Tracks(
        torch.cat([t.path for t in resampled], dim=1), torch.cat([t.visibility for t in resampled], dim=1), canvas
    )


def load_json(text: Any) -> Any:
    if not isinstance(text, str):
        raise TracksError(f"Coordinates are JSON text, not {type(text).__name__}.")
    if len(text) > MAX_TEXT:
        raise TracksError(f"Coordinates of {len(text):,} characters; at most {MAX_TEXT:,} are read.")
    if not text.strip():
        raise TracksError(f"The coordinates are empty; expected JSON such as {EXAMPLE}.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if "'" not in text:
            raise malformed(error) from None
    try:  # as Python prints it; the words would be keys or values, never part of a text that matters
        words = {"True": "true", "False": "false", "None": "null", "nan": "NaN", "inf": "Infinity"}
        return json.loads(re.sub(r"\b(True|False|None|nan|inf)\b", lambda m: words[m[0]], text.replace("'", '"')))
    except (ValueError, RecursionError) as error:
        raise malformed(error) from None


def malformed(error: Exception) -> TracksError:
    reason = "nested too deeply" if isinstance(error, RecursionError) else error
    return TracksError(f"The coordinates are not valid JSON: {reason}. Expected text such as {EXAMPLE}.")


def is_point(value: Any) -> bool:
    """A point is an object, or a list that does not begin with a list or an object."""
    return isinstance(value, dict) or isinstance(value, list) and bool(value) and not isinstance(value[0], (list, dict))


def is_group(value: Any) -> bool:
    """A list of points or of lists: what nests."""
    return isinstance(value, list) and not is_point(value)


class Reader:
    """Walks nested lists of points; counts tracks and points for the messages and against the limit."""

    def __init__(self) -> None:
        self.track = self.points = 0

    def tracks(self, value: list, depth: int = 0) -> list[list[Point]]:
        if depth > MAX_DEPTH:
            raise TracksError(f"{self.where()}: lists are nested more than {MAX_DEPTH} deep.")
        if not value:
            raise TracksError(f"{self.where()}: no points in it; every track needs at least one.")
        if all(map(is_point, value)):
            return [self.points_of(value)]
        found = []
        for entry in value:
            if not is_group(entry):
                raise TracksError(f"{self.where()}: {kind(entry)} stands among lists; a list of points is needed.")
            found += self.tracks(entry, depth + 1)
        return found

    def points_of(self, values: list) -> list[Point]:
        self.points += len(values)
        if self.points > MAX_POINTS:
            raise TracksError(f"{self.where()}: more than {MAX_POINTS:,} points.")
        points = [self.point(value, index) for index, value in enumerate(values)]
        self.track += 1
        return points

    def point(self, value: dict | list, index: int) -> Point:
        if isinstance(value, list):
            if len(value) not in (2, 3):
                raise TracksError(f"{self.where(index)}: [x, y] or [x, y, visible] is needed, not {len(value)} values.")
            x, y, visible = (*value, True)[:3]
        else:
            missing = [key for key in "xy" if key not in value]
            if missing:
                raise TracksError(f"{self.where(index)}: '{missing[0]}' is missing; it has {sorted(value)[:8]}.")
            x, y, visible = value["x"], value["y"], value.get("visible", True)
        if not isinstance(visible, (bool, int, float)):
            raise TracksError(f"{self.where(index)}: visible is {kind(visible)}; true or false is needed.")
        return self.number(x, "x", index), self.number(y, "y", index), visible > 0.5

    def number(self, value: Any, axis: str, index: int) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TracksError(f"{self.where(index)}: {axis} is {kind(value)}; a number of pixels is needed.")
        if not -MAX_COORDINATE <= value <= MAX_COORDINATE:
            size = value if isinstance(value, float) and not math.isfinite(value) else f"beyond ±{MAX_COORDINATE:,.0f}"
            raise TracksError(f"{self.where(index)}: {axis} is {size}; a number of pixels is needed.")
        return float(value)

    def where(self, point: int | None = None) -> str:
        return f"Track {self.track}" + ("" if point is None else f", point {point}") + " (counted from 0)"


def kind(value: Any) -> str:
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    names = {dict: "an object", list: "a list", bool: "true or false", type(None): "null"}
    return names.get(type(value), f"the number {value!s:.20}")
