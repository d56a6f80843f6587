"""The maths of the spline editor: control points -> curve -> arc length -> positions and visibility at frames.
The source of truth; web/editor/spline.js mirrors it, and both meet tests/vectors/spline.json. float64 throughout.
Knows a checked document (document.py); knows no JSON and no ComfyUI."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .document import Document, Grid, Move, Timing, Track

SAMPLES = 64  # straight pieces that a segment is flattened into
HALVINGS = 50  # of the search for a time in an easing curve: beyond float64's resolution
# CSS easing presets (CSS Easing Functions Level 1) as cubic-bezier control points.
PRESETS = {
    "ease-in": ((0.42, 0.0), (1.0, 1.0)),
    "ease-out": ((0.0, 0.0), (0.58, 1.0)),
    "ease-in-out": ((0.42, 0.0), (0.58, 1.0)),
}


def evaluate(document: Document, times: Sequence[float] | np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """All output tracks of a document, in its order: hidden ones left out, circles and grids expanded, camera applied.

    times: frames, which may be fractional (default: 0 ... frames - 1).
    -> positions [times, tracks, 2] in pixels, visibility [times, tracks]; no tracks where none is shown.
    """
    times = np.arange(document.frames, dtype=np.float64) if times is None else np.asarray(times, np.float64)
    paths, visible = [np.empty((len(times), 0, 2))], [np.empty((len(times), 0), bool)]
    for track in document.tracks:
        if track.hidden:
            continue
        done = share(track.timing, times)
        path = (position(track, done)[:, None] + offsets(track, done)).transpose(1, 0, 2)  # [copies, times, 2]
        for move in document.camera:
            if move.tracks is None or track.id in move.tracks:
                path = moved(path, move, document.canvas, times)
        paths.append(path.transpose(1, 0, 2))
        visible.append(np.repeat(visibility(track, times)[:, None], path.shape[0], axis=1))
    return np.concatenate(paths, axis=1), np.concatenate(visible, axis=1)


def owners(document: Document) -> list[Track]:
    """The drawn track of each output track of `evaluate`."""
    start = np.zeros(1)
    return [track for track in document.tracks if not track.hidden for _ in range(offsets(track, start).shape[1])]


# Time


def ease(speed: str | tuple, u: np.ndarray) -> np.ndarray:
    """The eased share of a motion at share u [times] (0..1) of its time; handles above 1 or below 0 overshoot.
    speed: "linear", one of PRESETS, or ((x1, y1), (x2, y2)) as in CSS cubic-bezier, x in 0..1."""
    u = np.clip(u, 0.0, 1.0)
    handles = PRESETS.get(speed) if isinstance(speed, str) else speed
    if handles is None:
        return u
    (x1, y1), (x2, y2) = handles
    low, high = np.zeros_like(u), np.ones_like(u)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        before = bezier(0.0, x1, x2, 1.0, middle) < u
        low, high = np.where(before, middle, low), np.where(before, high, middle)
    eased = bezier(0.0, y1, y2, 1.0, (low + high) / 2)
    return np.where(u <= 0, 0.0, np.where(u >= 1, 1.0, eased))


def share(timing: Timing, times: np.ndarray) -> np.ndarray:
    """Eased share of the motion done at times [times]: 0 before the start, 1 after the end."""
    if timing.end <= timing.start:
        return np.where(times < timing.start, 0.0, 1.0)
    return ease(timing.curve, (times - timing.start) / (timing.end - timing.start))


def visibility(track: Track, times: np.ndarray) -> np.ndarray:
    """[times] bool: the nearest whole frame is in one of the ranges, and not hidden before the start or after the
    end."""
    visible = np.ones(len(times), bool)
    if track.visibility is not None:
        nearest = np.floor(times + 0.5)
        inside = [(first <= nearest) & (nearest <= last) for first, last in track.visibility]
        visible = np.any(inside, axis=0) if inside else np.zeros(len(times), bool)
    if track.timing.before == "hidden":
        visible = visible & (times >= track.timing.start)
    if track.timing.after == "hidden":
        visible = visible & (times <= track.timing.end)
    return visible


# The curve


def bezier(a, b, c, d, t):
    s = 1 - t
    return s * s * s * a + 3 * s * s * t * b + 3 * s * t * t * c + t * t * t * d


def position(track: Track, done: np.ndarray) -> np.ndarray:
    """[times, 2]: where the track's path is when the share `done` [times] (clamped to 0..1) of its motion is."""
    points, done = track.points, np.clip(done, 0.0, 1.0)
    if len(points) < 2 or track.kind == "point":
        return np.repeat(points[:1], len(done), axis=0)
    times = recorded_times(track)
    if track.interpolation == "step":
        stations = len(points) + track.is_closed
        if times is not None:
            return points[np.where(done > 0, np.searchsorted(times, done, side="right") - 1, 0)]
        return points[np.minimum(np.floor(done * stations).astype(int), stations - 1) % len(points)]
    samples, lengths = flatten(track)
    target = done * lengths[-1]
    if times is not None:
        knots = lengths[::SAMPLES]
        before = np.clip(np.searchsorted(times, done, side="right") - 1, 0, len(points) - 2)
        gap = times[before + 1] - times[before]
        weight = np.where(gap > 0, (done - times[before]) / np.where(gap > 0, gap, 1), 1).clip(0, 1)
        target = np.where(done > 0, knots[before] + (knots[before + 1] - knots[before]) * weight, 0)
    return np.stack([np.interp(target, lengths, samples[:, axis]) for axis in (0, 1)], axis=-1)


def recorded_times(track: Track) -> np.ndarray | None:
    """Times of a freehand track's points as 0..1; None where none were recorded."""
    if track.kind != "freehand" or track.times is None:
        return None
    times = track.times - track.times[0]
    return times / times[-1] if times[-1] > 0 else None


def flatten(track: Track) -> tuple[np.ndarray, np.ndarray]:
    """The curve in SAMPLES straight pieces a segment: places [segments * SAMPLES + 1, 2] and arc length at each."""
    parts = segments(track)[:, :, None]  # [segments, 4, 1, 2]
    t = (np.arange(1, SAMPLES + 1) / SAMPLES)[:, None]
    places = bezier(parts[:, 0], parts[:, 1], parts[:, 2], parts[:, 3], t)  # [segments, SAMPLES, 2]
    places = np.concatenate([track.points[:1], places.reshape(-1, 2)])
    steps = np.diff(places, axis=0)
    return places, np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])


def segments(track: Track) -> np.ndarray:
    """[segments, 4, 2]: the cubic Bezier segments of the curve, whatever its interpolation."""
    points, closed = track.points, track.is_closed
    start, end = (points, np.roll(points, -1, axis=0)) if closed else (points[:-1], points[1:])
    if track.interpolation == "bezier":
        leave = track.handles_out[: len(start)]
        arrive = -(np.roll(track.handles_in, -1, axis=0) if closed else track.handles_in[1:])
    elif track.interpolation == "cardinal":
        leave, arrive = cardinal(points, closed, track.tension)
    elif track.interpolation == "monotone":
        leave, arrive = monotone(start, end, closed)
    else:
        leave = arrive = (end - start) / 3
    return np.stack([start, start + leave, end - arrive, end], axis=1)


def cardinal(points: np.ndarray, closed: bool, tension: float) -> tuple[np.ndarray, np.ndarray]:
    """A third of the tangents at both ends of each segment: (1 - tension) (p[i+1] - p[i-1]) / 2, so that tension 0 is
    Catmull-Rom and 1 is straight; one-sided differences at open ends."""
    if closed:
        tangents = (np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)) / 2
    else:
        tangents = np.gradient(points, axis=0)
    tangents = tangents * (1 - tension) / 3
    return (tangents, np.roll(tangents, -1, axis=0)) if closed else (tangents[:-1], tangents[1:])


def monotone(start: np.ndarray, end: np.ndarray, closed: bool) -> tuple[np.ndarray, np.ndarray]:
    """The same for x and y each as a monotone cubic over the cumulative chord length (Fritsch and Carlson, 1980).
    Coincident points do not steer."""
    chord = np.hypot(*(end - start).T)[:, None]
    moving = chord[:, 0] > 0
    leave, arrive = np.zeros_like(start), np.zeros_like(start)
    if moving.any():
        secants = (end - start)[moving] / chord[moving]
        slopes = np.stack([monotone_slopes(secants[:, axis].tolist(), closed) for axis in (0, 1)], axis=-1)
        leave[moving] = slopes[: len(secants)] * chord[moving] / 3
        arrive[moving] = (np.roll(slopes, -1, axis=0) if closed else slopes[1:]) * chord[moving] / 3
    return leave, arrive


def monotone_slopes(secants: list[float], closed: bool) -> list[float]:
    """Slopes at the knots from those of the secants; one more than secants, or as many when closed."""
    count = len(secants)
    if closed:
        pairs = [(secants[i - 1], secants[i]) for i in range(count)]
    else:
        pairs = [(secants[max(i - 1, 0)], secants[min(i, count - 1)]) for i in range(count + 1)]
    slopes = [(a + b) / 2 if a * b > 0 else 0.0 for a, b in pairs]
    if not closed:
        slopes[0], slopes[-1] = secants[0], secants[-1]
    for i, secant in enumerate(secants):
        after = (i + 1) % len(slopes)
        if secant == 0:
            slopes[i] = slopes[after] = 0.0
            continue
        a, b = slopes[i] / secant, slopes[after] / secant
        size = a * a + b * b
        if size > 9:
            slopes[i], slopes[after] = 3 / math.sqrt(size) * a * secant, 3 / math.sqrt(size) * b * secant
    return slopes


# Expansion and camera


def offsets(track: Track, done: np.ndarray) -> np.ndarray:
    """[times or 1, copies, 2]: what the output tracks of a drawn track keep from its path."""
    if track.kind == "circle":
        radius = track.radius[0] + (track.radius[1] - track.radius[0]) * np.clip(done, 0.0, 1.0)
        angle = np.arange(track.spokes) * (2 * math.pi / track.spokes)
        round_ = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        return radius[:, None, None] * np.concatenate([np.zeros((1, 2)), round_])
    if track.kind == "grid":
        return grid_offsets(track.grid)[None]
    return np.zeros((1, 1, 2))


def grid_offsets(grid: Grid) -> np.ndarray:
    """[points, 2]: row by row, edge to edge (the middle where there is one column or row), inside the mask polygon."""
    u = np.arange(grid.columns) / (grid.columns - 1) if grid.columns > 1 else np.full(1, 0.5)
    v = np.arange(grid.rows) / (grid.rows - 1) if grid.rows > 1 else np.full(1, 0.5)
    places = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
    if grid.mask is not None:
        places = places[in_polygon(grid.mask, places)]
    cos, sin = math.cos(math.radians(grid.angle)), math.sin(math.radians(grid.angle))
    return (places - 0.5) * (grid.width, grid.height) @ np.array([[cos, sin], [-sin, cos]])


def in_polygon(polygon: np.ndarray, places: np.ndarray) -> np.ndarray:
    """[places] bool by the even-odd rule; places exactly on an edge fall on either side."""
    inside = np.zeros(len(places), bool)
    u, v = places.T
    for (ux, uy), (vx, vy) in zip(polygon, np.roll(polygon, 1, axis=0)):
        if uy != vy:
            inside ^= ((uy > v) != (vy > v)) & (u < (vx - ux) * (v - uy) / (vy - uy) + ux)
    return inside


def moved(path: np.ndarray, move: Move, canvas: tuple[int, int], times: np.ndarray) -> np.ndarray:
    """A path [copies, times, 2] after one camera move. Pan adds the share done of (x, y), zoom scales by
    factor ** share, rotation turns clockwise on the screen by the share of the degrees."""
    done = share(move.timing, times)
    if move.kind == "pan":
        return path + done[:, None] * (move.x, move.y)
    center = np.array(move.center or (canvas[0] / 2, canvas[1] / 2))
    x, y = np.moveaxis(path - center, -1, 0)
    if move.kind == "zoom":
        factor = move.factor**done
        return np.stack([x * factor, y * factor], axis=-1) + center
    angle = np.radians(move.degrees * done)
    return np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], axis=-1) + center
