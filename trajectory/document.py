"""The spline editor's document, version 1: the JSON text in the widget `editor_state`, checked once and made typed.
Mirrored by web/editor/schema.js. Knows the schema; the maths are in spline.py. What only the page needs is ignored."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .tracks import MAX_COORDINATE, TracksError

VERSION = 1
KINDS = ("spline", "freehand", "point", "circle", "grid")
INTERPOLATIONS = ("cardinal", "monotone", "bezier", "linear", "step")
SPEEDS = ("linear", "ease-in", "ease-out", "ease-in-out")
MOVES = ("pan", "zoom", "rotate")
BEYOND = ("hold", "hidden")
SPOKES = 8  # points round a circle where it does not say

MAX_TEXT = 8 * 1024 * 1024  # characters
MAX_TRACKS = 1000
MAX_CONTROLS = 50_000  # control points of all tracks
MAX_OUTPUTS = 20_000  # tracks after circles and grids are expanded
MAX_FRAMES = 2000
MAX_SIDE = 16_384  # pixels of the canvas
MAX_PER_SIDE = 256  # columns, rows, spokes
NOTHING = "nothing is drawn yet: open the editor of Trajectory Spline Editor and draw a track."


@dataclass(frozen=True)
class Timing:
    """Frames (inclusive, may be fractional) in which a motion happens, and how its speed runs (spline.py: ease)."""

    start: float
    end: float
    curve: str | tuple[tuple[float, float], tuple[float, float]] = "linear"
    before: str = "hold"
    after: str = "hold"


@dataclass(frozen=True)
class Grid:
    """Points of a rectangle of pixels that move together, turned by `angle` degrees clockwise. mask: a polygon
    [corners, 2] in 0..1 of the rectangle."""

    width: float
    height: float
    columns: int
    rows: int
    mask: np.ndarray | None = None
    angle: float = 0.0


@dataclass(frozen=True, eq=False)
class Track:
    """A drawn track. color: RGB 0..255 or None. points, handles_in, handles_out: [points, 2] float64 pixels, handles
    relative to their point. times: [points] of a freehand track. radius: of a circle at start and end. visibility:
    frame ranges, None: always."""

    id: str
    name: str
    kind: str
    color: tuple[int, int, int] | None
    points: np.ndarray
    handles_in: np.ndarray
    handles_out: np.ndarray
    times: np.ndarray | None
    interpolation: str
    tension: float
    closed: bool
    timing: Timing
    visibility: tuple[tuple[float, float], ...] | None
    hidden: bool
    radius: tuple[float, float]
    spokes: int
    grid: Grid | None

    @property
    def is_closed(self) -> bool:
        """The path returns to its first point; recorded strokes never do."""
        return self.closed and self.kind != "freehand" and len(self.points) > 1

    @property
    def outputs(self) -> int:
        """How many tracks it gives at most (a mask may leave fewer)."""
        if self.kind == "grid":
            return self.grid.columns * self.grid.rows
        return self.spokes + 1 if self.kind == "circle" else 1


@dataclass(frozen=True)
class Move:
    """A camera move over its timing: pan by x, y pixels, zoom by a factor, or rotate by degrees clockwise, round
    `center` (None: the middle of the canvas). tracks: ids that it acts on, None: all."""

    kind: str
    x: float
    y: float
    factor: float
    degrees: float
    center: tuple[float, float] | None
    timing: Timing
    tracks: tuple[str, ...] | None


@dataclass(frozen=True, eq=False)
class Document:
    canvas: tuple[int, int]
    frames: int
    fps: float
    tracks: tuple[Track, ...]
    camera: tuple[Move, ...]


def parse(state: str | Mapping[str, Any]) -> Document:
    """The document of the widget's text, or of its parsed JSON. TracksError names the track (name and id) and the
    field; an empty text is an error, too."""
    if isinstance(state, str):
        if not state.strip():
            raise TracksError(NOTHING)
        if len(state) > MAX_TEXT:
            raise TracksError(f"The drawing is {len(state):,} characters long; at most {MAX_TEXT:,} are read.")
        try:
            state = json.loads(state)
        except (ValueError, RecursionError) as error:
            raise TracksError(f"The drawing is not valid JSON: {error}. Undo, or draw anew in the editor.") from None
    if not isinstance(state, Mapping):
        raise TracksError(f'The drawing is {show(state)}, not an object with "tracks".')
    state = migrate(state)
    canvas = state.get("canvas", {"width": 832, "height": 480})
    if not isinstance(canvas, Mapping):
        raise TracksError(f'canvas: {show(canvas)} is not {{"width": …, "height": …}}.')
    size = tuple(whole(canvas.get(side), f"canvas.{side}", 1, MAX_SIDE) for side in ("width", "height"))
    frames = whole(given(state, "frames", 81), "frames", 1, MAX_FRAMES)
    fps = number(given(state, "fps", 16), "fps", 0.01, 1000)
    drawn = listed(given(state, "tracks", []), "tracks", 0, MAX_TRACKS)
    tracks = tuple(track(value, i, frames) for i, value in enumerate(drawn))
    for count, most, what in (
        (sum(len(t.points) for t in tracks), MAX_CONTROLS, "control points"),
        (sum(t.outputs for t in tracks), MAX_OUTPUTS, "tracks, with the points of circles and grids"),
    ):
        if count > most:
            raise TracksError(f"tracks: the drawing has {count:,} {what}; at most {most:,} are possible.")
    moves = listed(given(state, "camera", []), "camera", 0, MAX_TRACKS)
    return Document(size, frames, fps, tracks, tuple(move(value, i, frames) for i, value in enumerate(moves)))


def migrate(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The document in this version. Version 1 is the first, so there is nothing to bring forward yet."""
    version = given(state, "version", VERSION)
    if type(version) is not int or version < 1:
        raise TracksError(f"version: {show(version)} is not a version of a drawing.")
    if version > VERSION:
        raise TracksError(
            f"version: the drawing is of version {version}, this pack reads up to {VERSION}: update the pack."
        )
    return state


def track(value: Any, index: int, frames: int) -> Track:
    if not isinstance(value, Mapping):
        raise TracksError(f"tracks[{index}]: {show(value)} is not a track.")
    name, id = given(value, "name", f"Track {index + 1}"), value.get("id")
    id = id if isinstance(id, str) and id else f"t{index + 1}"
    try:
        return checked_track(value, id, text(name, "name"), frames)
    except TracksError as error:
        raise TracksError(f"Track {show(name)} ({id[:200]}), {error}") from None


def checked_track(value: Mapping[str, Any], id: str, name: str, frames: int) -> Track:
    kind = choice(given(value, "kind", "spline"), "kind", KINDS)
    points = listed(value.get("points"), "points", 1, MAX_CONTROLS)
    places, handles, times = [], {"in": [], "out": []}, []
    for i, point in enumerate(points):
        if not isinstance(point, Mapping):
            raise TracksError(f'points[{i}]: {show(point)} is not {{"x": …, "y": …}}.')
        places.append([pixel(point.get(axis), f"points[{i}].{axis}") for axis in "xy"])
        for side, found in handles.items():
            found.append(pair(given(point, side, [0, 0]), f"points[{i}].{side}"))
        times.append(None if point.get("t") is None else pixel(point["t"], f"points[{i}].t"))
    recorded = None
    if kind == "freehand" and None not in times:
        recorded = np.array(times, np.float64)
        backwards = np.flatnonzero(np.diff(recorded) < 0)
        if len(backwards):
            raise TracksError(f"points[{backwards[0] + 1}].t: recorded times run backwards here.")
    return Track(
        id, name, kind, rgb(value.get("color")),
        points=np.array(places, np.float64),
        handles_in=np.array(handles["in"], np.float64),
        handles_out=np.array(handles["out"], np.float64),
        times=recorded,
        interpolation=choice(given(value, "interpolation", "cardinal"), "interpolation", INTERPOLATIONS),
        tension=number(given(value, "tension", 0), "tension", -10, 10),
        closed=flag(value.get("closed"), "closed"),
        timing=timing(value.get("timing"), frames),
        visibility=ranges(value.get("visibility")),
        hidden=flag(value.get("hidden"), "hidden"),
        radius=pair(given(value, "radius", [40, 40]), "radius", least=0) if kind == "circle" else (0.0, 0.0),
        spokes=whole(given(value, "spokes", SPOKES), "spokes", 1, MAX_PER_SIDE) if kind == "circle" else SPOKES,
        grid=grid(value.get("grid")) if kind == "grid" else None,
    )  # fmt: skip


def grid(value: Any) -> Grid:
    if not isinstance(value, Mapping):
        raise TracksError(f'grid: {show(value)} is not {{"width": …, "height": …, "columns": …, "rows": …}}.')
    mask = value.get("mask")
    if mask is not None:
        corners = listed(mask, "grid.mask", 3, 10_000)
        mask = np.array([pair(corner, f"grid.mask[{i}]") for i, corner in enumerate(corners)], np.float64)
    width, height = (number(value.get(side), f"grid.{side}", 0, MAX_COORDINATE) for side in ("width", "height"))
    columns = whole(given(value, "columns", 4), "grid.columns", 1, MAX_PER_SIDE)
    rows = whole(given(value, "rows", 3), "grid.rows", 1, MAX_PER_SIDE)
    angle = number(given(value, "angle", 0.0), "grid.angle", -MAX_COORDINATE, MAX_COORDINATE)
    return Grid(width, height, columns, rows, mask, angle)


def timing(value: Any, frames: int) -> Timing:
    value = {} if value is None else value
    if not isinstance(value, Mapping):
        raise TracksError(f"timing: {show(value)} is not an object.")
    start = pixel(given(value, "start", 0), "timing.start")
    end = pixel(given(value, "end", max(frames - 1, start)), "timing.end")
    if end < start:
        raise TracksError(f"timing: the end {end:g} is before the start {start:g}.")
    curve = given(value, "curve", "linear")
    if isinstance(curve, str):
        curve = choice(curve, "timing.curve", SPEEDS)
    else:
        handles = listed(curve, "timing.curve", 2, 2)
        curve = tuple(pair(handle, f"timing.curve[{i}]", -10, 10) for i, handle in enumerate(handles))
        if not all(0 <= x <= 1 for x, _ in curve):
            raise TracksError("timing.curve: x of both handles is a share of the time, 0 to 1.")
    before, after = (choice(given(value, side, "hold"), f"timing.{side}", BEYOND) for side in ("before", "after"))
    return Timing(start, end, curve, before, after)


def ranges(value: Any) -> tuple[tuple[float, float], ...] | None:
    if value is None:
        return None
    found = tuple(pair(entry, f"visibility[{i}]") for i, entry in enumerate(listed(value, "visibility", 0, 10_000)))
    for i, (first, last) in enumerate(found):
        if last < first:
            raise TracksError(f"visibility[{i}]: the range ends ({last:g}) before it begins ({first:g}).")
    return found


def move(value: Any, index: int, frames: int) -> Move:
    if not isinstance(value, Mapping):
        raise TracksError(f"camera[{index}]: {show(value)} is not a camera move.")
    try:
        ids = value.get("tracks")
        return Move(
            kind=choice(value.get("kind"), "kind", MOVES),
            x=pixel(given(value, "x", 0), "x"),
            y=pixel(given(value, "y", 0), "y"),
            factor=number(given(value, "factor", 1), "factor", 0.001, 1000),
            degrees=pixel(given(value, "degrees", 0), "degrees"),
            center=None if value.get("center") is None else pair(value["center"], "center"),
            timing=timing(value.get("timing"), frames),
            tracks=None if ids is None else tuple(
                text(id, f"tracks[{i}]") for i, id in enumerate(listed(ids, "tracks", 0, MAX_TRACKS))),
        )  # fmt: skip
    except TracksError as error:
        raise TracksError(f"Camera move {index + 1}, {error}") from None


# Small checks: each gives the value back or raises, naming the field


def given(value: Mapping[str, Any], key: str, default: Any) -> Any:
    found = value.get(key)
    return default if found is None else found


def show(value: Any) -> str:
    try:
        written = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        written = type(value).__name__
    return written if len(written) <= 60 else f"{written[:60]}…"


def number(value: Any, field: str, least: float, most: float) -> float:
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not known or isinstance(value, float) and not math.isfinite(value):  # isfinite overflows on huge whole numbers
        raise TracksError(f"{field}: {show(value)} is not a finite number.")
    if not least <= value <= most:
        raise TracksError(f"{field}: {show(value)} is not between {least:g} and {most:g}.")
    return float(value)


def pixel(value: Any, field: str) -> float:
    return number(value, field, -MAX_COORDINATE, MAX_COORDINATE)


def whole(value: Any, field: str, least: int, most: int) -> int:
    if number(value, field, least, most) != int(value):
        raise TracksError(f"{field}: {value:g} is not a whole number.")
    return int(value)


def pair(value: Any, field: str, least: float = -MAX_COORDINATE, most: float = MAX_COORDINATE) -> tuple[float, float]:
    first, second = (number(entry, field, least, most) for entry in listed(value, field, 2, 2))
    return first, second


def listed(value: Any, field: str, least: int, most: int) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise TracksError(f"{field}: {show(value)} is not a list.")
    if not least <= len(value) <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        raise TracksError(f"{field}: {len(value)} entries; {wanted} are possible.")
    return value


def choice(value: Any, field: str, choices: Sequence[str]) -> str:
    if value not in choices:
        raise TracksError(f"{field}: {show(value)} is none of {', '.join(choices)}.")
    return value


def rgb(value: Any) -> tuple[int, int, int] | None:
    """#rrggbb; anything else is no colour, which harms nothing."""
    if not isinstance(value, str) or not re.fullmatch("#[0-9a-fA-F]{6}", value):
        return None
    red, green, blue = bytes.fromhex(value[1:])
    return red, green, blue


def flag(value: Any, field: str) -> bool:
    if value is not None and not isinstance(value, bool):
        raise TracksError(f"{field}: {show(value)} is not true or false.")
    return bool(value)


def text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise TracksError(f"{field}: {show(value)} is not a text.")
    return value[:200]
