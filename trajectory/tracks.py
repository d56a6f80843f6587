"""Tracks: points that move through a clip, checked once at construction; every operation returns new ones.
Knows pixels and frames; knows no file format, no model, no ComfyUI (only the shape of its TRACKS dict)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

MAX_POINTS = 4_000_000  # frames x tracks: 100 x 100 points over 400 frames
MAX_COORDINATE = 1e6  # pixels; further out is a mistake, not a camera move
MAX_SIDE = 65_536  # pixels of a canvas


class TracksError(ValueError):
    """Tracks that cannot be used; the message says which track, point or file, and what to do."""


def check_size(frames: int, tracks: int) -> None:
    """TracksError unless frames x tracks is something that a clip can have. Called before memory is taken."""
    if frames < 1 or tracks < 1:
        raise TracksError(f"{tracks} tracks of {frames} frames: at least one track and one frame are needed.")
    if frames * tracks > MAX_POINTS:
        raise TracksError(
            f"{tracks} tracks of {frames} frames are {frames * tracks:,} points; at most {MAX_POINTS:,} are supported."
        )


@dataclass(frozen=True, eq=False)
class Tracks:
    """Positions of `count` points over `frames` frames.

    path: [frames, tracks, 2] float32, pixels of the canvas, x right, y down; positions off the canvas are valid.
    visibility: [frames, tracks] bool. canvas: (width, height) in pixels, None where unknown. fps: frames per second.
    Arrays and lists are converted; TracksError where a value is not finite, a shape does not agree, or a size is
    absurd.
    """

    path: Tensor
    visibility: Tensor
    canvas: tuple[int, int] | None = None
    fps: float | None = None

    def __post_init__(self) -> None:
        path = as_tensor(self.path, "path")
        if path.ndim != 3 or path.shape[2] != 2:
            raise TracksError(f"The path of tracks is [frames, tracks, 2], not {list(path.shape)}.")
        check_size(path.shape[0], path.shape[1])
        path = path.to("cpu", torch.float32)
        bad = (~torch.isfinite(path) | (path.abs() > MAX_COORDINATE)).any(-1).nonzero()
        if len(bad):
            frame, track = bad[0].tolist()
            x, y = path[frame, track].tolist()
            raise TracksError(f"Track {track}, frame {frame}: ({x:g}, {y:g}) is not a position in pixels.")
        visibility = as_tensor(self.visibility, "visibility")
        if visibility.shape != path.shape[:2]:
            raise TracksError(
                f"The visibility is {list(visibility.shape)}, the path {list(path.shape)}: "
                f"[frames, tracks] = {list(path.shape[:2])} is needed."
            )
        if visibility.dtype != torch.bool:
            visibility = visibility > 0.5  # NaN is not visible
        canvas, fps = self.canvas, self.fps
        if canvas is not None:
            canvas = checked_canvas(canvas)
        if fps is not None:
            fps = float(fps)
            if not (math.isfinite(fps) and fps > 0):
                raise TracksError(f"{fps:g} frames per second: a positive number is needed.")
        for name, value in (("path", path), ("visibility", visibility.cpu()), ("canvas", canvas), ("fps", fps)):
            object.__setattr__(self, name, value)

    @property
    def frames(self) -> int:
        return self.path.shape[0]

    @property
    def count(self) -> int:
        return self.path.shape[1]

    # Time

    def resample(self, frames: int) -> Tracks:
        """The same motion in another number of frames: the first and last positions stay first and last, those between
        are interpolated linearly in time, a single frame is held. A point is visible where the nearest source frame
        (the later of two) is. The duration stays, so `fps` follows."""
        check_size(frames, self.count)
        if frames == self.frames:
            return self
        fps = self.fps
        if fps and frames > 1 and self.frames > 1:
            fps = fps * (frames - 1) / (self.frames - 1)
        return replace(self.at(torch.linspace(0, self.frames - 1, frames, dtype=torch.float64)), fps=fps)

    def shift_time(self, frames: float) -> Tracks:
        """Everything happens `frames` later (earlier where negative) in a clip of the same length; the first (last)
        position and its visibility are held meanwhile. Parts of a frame are interpolated."""
        if not math.isfinite(frames):
            raise TracksError(f"A shift of {frames} frames is not a number of frames.")
        return self.at(torch.arange(self.frames, dtype=torch.float64) - frames)

    def at(self, times: Tensor) -> Tracks:
        """Tracks at `times` [frames], in source frames, held beyond both ends."""
        times = times.double().clamp(0, self.frames - 1)
        before = times.floor().long()
        after = (before + 1).clamp(max=self.frames - 1)
        weight = (times - before).float()[:, None, None]
        nearest = (times + 0.5).floor().long().clamp(max=self.frames - 1)
        return replace(
            self, path=torch.lerp(self.path[before], self.path[after], weight), visibility=self.visibility[nearest]
        )

    # Place

    def resize(self, width: int, height: int, *, source: tuple[int, int] | None = None) -> Tracks:
        """The tracks on a canvas of another size. `source`: (width, height) that they were drawn on, where they do not
        say so themselves; TracksError where neither does."""
        drawn_on = self.canvas or source
        if drawn_on is None:
            raise TracksError(
                "These tracks do not say on which size they were drawn: give the source width and height."
            )
        (w, h), target = checked_canvas(drawn_on), checked_canvas((width, height))
        return replace(self, path=self.path * torch.tensor([target[0] / w, target[1] / h]), canvas=target)

    def pan(self, x: float | Tensor, y: float | Tensor) -> Tracks:
        """Moved by x, y pixels: numbers, or one value a frame [frames]."""
        offset = torch.stack([self.each_frame(x, "pan x"), self.each_frame(y, "pan y")], dim=-1)
        return replace(self, path=self.path + offset[:, None].float())

    def zoom(self, factor: float | Tensor, center: tuple[float, float] | None = None) -> Tracks:
        """Distances from `center` (default: the middle of the canvas) times `factor`: a number, or one a frame."""
        center = self.pivot(center)
        factor = self.each_frame(factor, "zoom")[:, None, None].float()
        return replace(self, path=(self.path - center) * factor + center)

    def rotate(self, degrees: float | Tensor, center: tuple[float, float] | None = None) -> Tracks:
        """Turned clockwise on the screen round `center` (default: the middle of the canvas) by a number of degrees, or
        one a frame."""
        center = self.pivot(center)
        angle = self.each_frame(degrees, "rotation").deg2rad()[:, None]
        x, y = (self.path - center).double().unbind(-1)
        turned = torch.stack([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()], dim=-1)
        return replace(self, path=turned.float() + center)

    def clip(self) -> Tracks:
        """Visible only where inside the canvas; positions stay."""
        return replace(self, visibility=self.visibility & self.inside())

    def inside(self) -> Tensor:
        """[frames, tracks] bool: the position is on the canvas (0 <= x < width, 0 <= y < height)."""
        if self.canvas is None:
            raise TracksError("These tracks do not say on which size they were drawn: resize them to a canvas first.")
        return ((self.path >= 0) & (self.path < torch.tensor(self.canvas))).all(-1)

    def pivot(self, center: tuple[float, float] | None) -> Tensor:
        if center is None:
            if self.canvas is None:
                raise TracksError("These tracks have no canvas, so its middle is unknown: give a center.")
            center = (self.canvas[0] / 2, self.canvas[1] / 2)
        return torch.tensor(center, dtype=torch.float32)

    def each_frame(self, value: float | Tensor, name: str) -> Tensor:
        value = torch.as_tensor(value, dtype=torch.float64)
        if value.ndim > 1 or value.ndim == 1 and len(value) != self.frames:
            raise TracksError(f"{name} is {list(value.shape)}: a number or [{self.frames}] values is needed.")
        return value.expand(self.frames)

    # Together

    def merge(self, *others: Tracks) -> Tracks:
        """All tracks side by side, these first. Shorter ones are resampled to the longest, so that each still drives
        the whole clip; each is resized to this canvas, and one without a canvas is taken to be on it."""
        everyone = [self, *others]
        frames = max(tracks.frames for tracks in everyone)
        canvas = next((tracks.canvas for tracks in everyone if tracks.canvas), None)
        check_size(frames, sum(tracks.count for tracks in everyone))
        fps = next((tracks.fps for tracks in everyone if tracks.fps and tracks.frames == frames), None)
        if canvas:
            everyone = [tracks.resize(*canvas, source=canvas) for tracks in everyone]
        everyone = [tracks.resample(frames) for tracks in everyone]
        return Tracks(
            torch.cat([t.path for t in everyone], dim=1),
            torch.cat([t.visibility for t in everyone], dim=1),
            canvas,
            fps,
        )

    # The spline editor

    @classmethod
    def from_editor(
        cls,
        state: str | Mapping[str, Any],
        *,
        frames: int | None = None,
        canvas: tuple[int, int] | None = None,
        fps: float | None = None,
    ) -> Tracks:
        """The tracks that a drawing of the spline editor gives. state: the document as JSON text or parsed
        (document.py).

        frames, canvas, fps: where the clip is not as drawn; the motion is stretched to other frames (evaluated there,
        not resampled) and scaled to another canvas. TracksError names the track and the field that is wrong, and says
        so where nothing is drawn.
        """
        from .document import NOTHING, parse
        from .spline import evaluate

        document = parse(state)
        shown = sum(track.outputs for track in document.tracks if not track.hidden)
        if not shown:
            raise TracksError("all tracks are hidden: show one in the editor." if document.tracks else NOTHING)
        count = frames or document.frames
        check_size(count, shown)
        times = torch.linspace(0, document.frames - 1, count, dtype=torch.float64).numpy()
        path, visibility = evaluate(document, times)
        if not path.shape[1]:
            raise TracksError("the masks of all grids leave no point: make one larger in the editor, or remove it.")
        if fps is None:
            fps = (
                document.fps * (count - 1) / (document.frames - 1)
                if count > 1 and document.frames > 1
                else document.fps
            )
        tracks = cls(torch.from_numpy(path), torch.from_numpy(visibility), document.canvas, fps)
        return tracks.resize(*canvas) if canvas else tracks

    # ComfyUI's TRACKS socket

    def to_comfy(self) -> dict[str, Any]:
        """The value of ComfyUI's TRACKS socket, as comfy_extras/nodes_wanmove.py (GenerateTracks) makes it, with our
        `canvas` and `fps` where known."""
        value: dict[str, Any] = {"track_path": self.path, "track_visibility": self.visibility}
        if self.canvas:
            value["canvas"] = self.canvas
        if self.fps:
            value["fps"] = self.fps
        return value

    @classmethod
    def from_comfy(cls, value: Mapping[str, Any]) -> Tracks:
        """From the TRACKS socket; tensors, arrays or lists. `track_path` is [frames, tracks, 2] or [1, frames, tracks,
        2]; `track_visibility` is [frames, tracks], or [frames, 1] for all tracks at once (core nodes make that from a
        mask), or absent: all visible."""
        if not isinstance(value, Mapping) or "track_path" not in value:
            raise TracksError("Not a TRACKS value: a dict with 'track_path' [frames, tracks, 2] is needed.")
        path, visibility = as_tensor(value["track_path"], "track_path"), value.get("track_visibility")
        if path.ndim == 4 and path.shape[0] == 1:
            path = path[0]
        if visibility is None:
            visibility = torch.ones(path.shape[:2], dtype=torch.bool)
        visibility = as_tensor(visibility, "track_visibility")
        if visibility.ndim == 3 and visibility.shape[0] == 1:
            visibility = visibility[0]
        if visibility.ndim == 2 and path.ndim == 3:
            if all(have in (1, want) for have, want in zip(visibility.shape, path.shape)):
                visibility = visibility.expand(path.shape[:2])
        return cls(path, visibility, value.get("canvas"), value.get("fps"))


def as_tensor(values: Any, name: str) -> Tensor:
    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TracksError(f"The {name} of tracks is not an array of numbers: {error}") from None
    if tensor.is_complex():
        raise TracksError(f"The {name} of tracks is not an array of real numbers.")
    return tensor.detach()


def checked_canvas(canvas: Any) -> tuple[int, int]:
    try:
        width, height = (int(side) for side in canvas)
    except (TypeError, ValueError, OverflowError):
        raise TracksError(f"The canvas {canvas!r} is not (width, height) in pixels.") from None
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise TracksError(f"A canvas of {width} x {height} pixels: 1 to {MAX_SIDE} a side is supported.")
    return width, height
