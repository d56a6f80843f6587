"""Camera moves as tracks: a grid of points over the canvas, and pan, zoom and rotation at a steady rate a frame, over a
grid or added to given tracks. Values are the motion of the picture: the camera itself moves the other way.
Knows 2D moves only; camera poses are not its concern."""

from __future__ import annotations

import torch

from .tracks import Tracks, TracksError, check_size, checked_canvas

UNITS = ("pixels", "percent")


def grid(width: int, height: int, frames: int, *, columns: int = 6, rows: int = 4, fps: float | None = None) -> Tracks:
    """rows x columns points at rest, each in the middle of its cell of a width x height canvas, row by row."""
    canvas = checked_canvas((width, height))
    check_size(frames, columns * rows if columns > 0 and rows > 0 else 0)
    x = (torch.arange(columns) + 0.5) * canvas[0] / columns
    y = (torch.arange(rows) + 0.5) * canvas[1] / rows
    points = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(1, -1, 2)
    return Tracks(points.repeat(frames, 1, 1), torch.ones(frames, columns * rows, dtype=torch.bool), canvas, fps)


def camera(
    tracks: Tracks,
    *,
    pan: tuple[float, float] = (0.0, 0.0),
    zoom: float = 0.0,
    rotate: float = 0.0,
    unit: str = "pixels",
    center: tuple[float, float] | None = None,
) -> Tracks:
    """The tracks carried along by a camera that starts at rest position in frame 0 and moves at a steady rate.

    pan: (x, y) a frame, in pixels or in percent of the canvas's width and height; positive moves the picture right and
    down. zoom: a frame, positive moves in: percent grows by that much each frame (compounding), pixels moves the middle
    of the nearest edge by that much. rotate: degrees a frame, clockwise on the screen. center: of zoom and rotation,
    pixels (default: the middle of the canvas). Zoom and rotation act first, then pan. TracksError where a zoom turns
    the picture inside out, or the canvas is needed but unknown.
    """
    if unit not in UNITS:
        raise TracksError(f"The unit of a camera move is one of {UNITS}, not {unit!r}.")
    if tracks.canvas is None and (unit == "percent" or zoom):
        raise TracksError("Percent and zoom are measured by the canvas, and these tracks have none: resize them first.")
    time = torch.arange(tracks.frames, dtype=torch.float64)
    x, y = pan
    if unit == "percent":
        x, y = x / 100 * tracks.canvas[0], y / 100 * tracks.canvas[1]
    if zoom:
        factor = (1 + zoom / 100) ** time if unit == "percent" else 1 + zoom * time / (min(tracks.canvas) / 2)
        if zoom <= -100 and unit == "percent" or not (factor > 0).all():
            raise TracksError(f"A zoom of {zoom:g} {unit} a frame shrinks all to nothing in {tracks.frames} frames.")
        tracks = tracks.zoom(factor, center)
    if rotate:
        tracks = tracks.rotate(rotate * time, center)
    return tracks.pan(x * time, y * time)
