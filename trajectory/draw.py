"""Tracks drawn on pictures and videos, and videos laid out as a contact sheet. Draws what it is told: computes no
tracks."""

from __future__ import annotations

import colorsys
import math

import numpy as np

from .images import Video, as_uint8, import_cv2
from .tracks import Tracks, TracksError

SHIFT = 4  # bits of sub-pixel precision in OpenCV's drawing
FAR = 20_000  # pixels: OpenCV's fixed-point coordinates end beyond
DARK = (16, 16, 16)
HUES = (0.58, 0.08, 0.36, 0.88, 0.15, 0.72, 0.47, 0.0)  # far apart on the colour circle, neighbours most of all


def color(index: int) -> tuple[int, int, int]:
    """The RGB colour (0..255) of a track: distinct hues first, then the same ones paler."""
    hue, round_ = HUES[index % len(HUES)], index // len(HUES)
    red, green, blue = colorsys.hsv_to_rgb((hue + 0.06 * round_) % 1, 0.85 - 0.3 * (round_ % 3) / 2, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_tracks(
    video: Video, tracks: Tracks, *, trail: int = 24, size: float | None = None, colors: list | None = None
) -> Video:
    """The video with the current points and the trails behind them.

    video: [frames, height, width, 3] uint8 or float in 0..1, NumPy or torch; one picture is repeated for every frame of
    the tracks. Tracks are resampled to the frames and resized to the frame. trail: how many frames back the fading
    trail reaches (0: none). size: radius of a point in pixels (default: by the frame). colors: an RGB triple a track
    (0..255). An invisible point is hollow and has a faint trail. -> a video of the same kind.
    """
    frames, back = as_uint8(video)
    if len(frames) == 1 and tracks.frames > 1:
        frames = np.repeat(frames, tracks.frames, axis=0)
    pen = Pen(frames.shape, size)
    path, visible = pen.place(tracks.resample(len(frames)))
    colors = colors or [color(i) for i in range(tracks.count)]
    out = np.empty_like(frames)
    for t, frame in enumerate(frames):
        pen.clear()
        for i in range(tracks.count):
            pen.trail(path[max(t - trail, 0) : t + 1, i], visible[max(t - trail, 0) : t + 1, i], colors[i], trail)
        for i in range(tracks.count):
            pen.point(path[t, i], visible[t, i], colors[i])
        out[t] = pen.over(frame)
    return back(out)


def draw_paths(image: Video, tracks: Tracks, *, size: float | None = None, colors: list | None = None) -> Video:
    """The whole paths on one picture: a dot where each starts, an arrow head where it ends, invisible parts faint.

    image: [height, width, 3] or [1, height, width, 3]; returned in the same kind and shape (of a video, the first
    frame).
    """
    frames, back = as_uint8(image)
    pen = Pen(frames.shape, size)
    path, visible = pen.place(tracks)
    for i in range(tracks.count):
        chosen = colors[i] if colors else color(i)
        pen.line(path[:, i], visible[:, i], chosen)
        pen.point(path[0, i], visible[0, i], chosen, 0.8)
        pen.arrow(path[:, i], chosen)
    result = back(pen.over(frames[0])[None])
    return result[0] if np.ndim(image) == 3 else result


def contact_sheet(video: Video, columns: int = 4, *, rows: int | None = None, gap: int = 2) -> Video:
    """Frames of the video side by side, evenly spaced in time, first and last included -> [height, width, 3] of the
    same kind. rows: how many (default: as many as hold up to 16 frames)."""
    if columns < 1 or gap < 0 or rows is not None and rows < 1:
        raise TracksError(f"A contact sheet of {columns} columns and {rows} rows: at least one of each is needed.")
    frames, back = as_uint8(video)
    rows = rows or math.ceil(min(len(frames), 16) / columns)
    count = min(rows * columns, len(frames))
    chosen = frames[np.linspace(0, len(frames) - 1, count).round().astype(int)]
    height, width = frames.shape[1:3]
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, frame in enumerate(chosen):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = frame
    return back(sheet[None])[0]


class Pen:
    """Draws on a transparent layer [height, width, 4] (colours times opacity, opacity) that is laid over a frame."""

    def __init__(self, shape: tuple[int, ...], size: float | None):
        self.cv2 = import_cv2()
        self.height, self.width = shape[1:3]
        self.radius = size or max(1.5, min(self.height, self.width) / 80)
        self.thick = max(1, round(self.radius * 0.5))
        self.edge = max(1, round(self.radius * 0.25))
        self.layer = np.zeros((self.height, self.width, 4), np.uint8)

    def clear(self) -> None:
        self.layer[:] = 0

    def place(self, tracks: Tracks) -> tuple[np.ndarray, np.ndarray]:
        """Positions in OpenCV's fixed point [frames, tracks, 2] int32, pixel centres at whole numbers; visibility."""
        if tracks.canvas:
            tracks = tracks.resize(self.width, self.height)
        path = (tracks.path.numpy() - 0.5).clip(-FAR, FAR)
        return (path * (1 << SHIFT)).round().astype(np.int32), tracks.visibility.numpy()

    def stroke(self, points: np.ndarray, rgb: tuple, opacity: float, thickness: int) -> None:
        ink = (*(channel * opacity for channel in rgb), 255 * opacity)
        self.cv2.polylines(self.layer, [np.ascontiguousarray(points)], False, ink, thickness, self.cv2.LINE_AA, SHIFT)

    def trail(self, points: np.ndarray, visible: np.ndarray, rgb: tuple, length: int) -> None:
        """From old (dark, faint) to new (its full colour); the outline in three lengths, the colour frame by frame."""
        if len(points) < 2 or not np.ptp(points, axis=0).any():
            return
        ages = np.arange(len(points) - 1, 0, -1) / (length + 1)  # of each piece, by its older end
        opacity = (1 - ages) * np.where(visible[1:] & visible[:-1], 1.0, 0.3)
        for part in np.array_split(np.arange(len(points) - 1), min(3, len(points) - 1)):
            self.stroke(points[part[0] : part[-1] + 2], DARK, 0.7 * opacity[part].mean(), self.thick + 2 * self.edge)
        for k, (fade, age) in enumerate(zip(opacity, ages)):
            if (points[k] != points[k + 1]).any():
                shade = tuple(channel * (1 - 0.5 * age) for channel in rgb)
                self.stroke(points[k : k + 2], shade, float(fade), self.thick)

    def line(self, points: np.ndarray, visible: np.ndarray, rgb: tuple) -> None:
        """A whole path; its beginning darker than its end."""
        pieces = np.arange(len(points) - 1)
        for ink, thickness in ((None, self.thick + 2 * self.edge), (rgb, self.thick)):
            for k in pieces:
                opacity = 1.0 if visible[k] and visible[k + 1] else 0.3
                shade = DARK if ink is None else tuple(c * (0.45 + 0.55 * (k + 1) / len(pieces)) for c in ink)
                self.stroke(points[k : k + 2], shade, opacity, thickness)

    def point(self, at: np.ndarray, visible: bool, rgb: tuple, scale: float = 1.0) -> None:
        def circle(radius: float, ink: tuple, thickness: int) -> None:
            size = round(radius * scale * (1 << SHIFT))
            self.cv2.circle(self.layer, tuple(at.tolist()), size, ink, thickness, self.cv2.LINE_AA, SHIFT)

        if visible:
            circle(self.radius + 2 * self.edge, (*DARK, 255), -1)
            circle(self.radius + self.edge, (255, 255, 255, 255), -1)
            circle(self.radius, (*rgb, 255), -1)
        else:
            circle(self.radius, (*(c * 0.6 for c in DARK), 255 * 0.6), 3 * self.edge)
            circle(self.radius, (*(c * 0.8 for c in rgb), 255 * 0.8), self.edge)

    def arrow(self, points: np.ndarray, rgb: tuple) -> None:
        """A head at the last point, in the direction in which the path arrives there; none where nothing moves."""
        tip = points[-1].astype(float)
        away = np.linalg.norm(points - tip, axis=1)
        reach = self.radius * (1 << SHIFT)
        before = np.flatnonzero(away > reach)
        if not len(before) and away.max() == 0:
            return
        start = points[before[-1]] if len(before) else points[away.argmax()]
        along = (tip - start) / np.linalg.norm(tip - start)
        across = np.array([-along[1], along[0]])
        corners = ((1.6, 0), (-1, 1.4), (-0.5, 0), (-1, -1.4))  # along and across the direction
        head = np.array([tip + reach * (a * along + b * across) for a, b in corners])
        head = head.round().astype(np.int32).reshape(-1, 1, 2)
        self.cv2.polylines(self.layer, [head], True, (*DARK, 255), 2 * self.edge + 1, self.cv2.LINE_AA, SHIFT)
        self.cv2.fillPoly(self.layer, [head], (*rgb, 255), self.cv2.LINE_AA, SHIFT)

    def over(self, frame: np.ndarray) -> np.ndarray:
        ink, opacity = self.layer[..., :3], self.layer[..., 3:]
        rest = self.cv2.cvtColor(self.cv2.bitwise_not(opacity), self.cv2.COLOR_GRAY2BGR)
        return self.cv2.add(self.cv2.multiply(frame, rest, scale=1 / 255), ink)
