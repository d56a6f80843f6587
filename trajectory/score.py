"""How well a video follows its tracks: the points are followed optically and compared with where they were asked to go.
Measures only; the tracker is follow.py and knows nothing of the tracks."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from .draw import Pen, color
from .follow import follow
from .images import Video, as_uint8
from .tracks import Tracks, TracksError


@dataclass(frozen=True, eq=False)
class Score:
    """Figures over every counted point: the frames in which the asked point is visible and on the canvas, without the
    frame in which it was handed to the tracker (no error is possible there). Distances are in pixels of the video.

    error: mean L2 distance; error_percent: of the short side, in percent. traj_error: mean L1 distance, |dx| + |dy|
    (Tora's TrajError). acc_01, acc_05: share of counted points within 1% and 5% of the diagonal (ATI's Acc@0.01,
    Acc@0.05). coverage: share of counted points that the tracker could see; where it lost a point, the last known
    position is taken as the measured one, so that losing a track never helps. track_errors: mean L2 a track, NaN where
    none of it counts. followed: the measured tracks; asked: the tracks as they were compared, at the video's size and
    length.
    """

    error: float
    error_percent: float
    traj_error: float
    acc_01: float
    acc_05: float
    coverage: float
    points: int
    track_errors: tuple[float, ...]
    followed: Tracks
    asked: Tracks

    def figures(self) -> dict[str, Any]:
        """The numbers alone, ready for JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("followed", "asked")}
        values["track_errors"] = [None if np.isnan(value) else value for value in self.track_errors]
        return values

    def report(self) -> str:
        """The figures in words, a line each."""
        lines = [
            f"mean error: {self.error:.2f} px ({self.error_percent:.2f}% of the short side)",
            f"TrajError (mean L1): {self.traj_error:.2f} px",
            f"Acc@0.01: {self.acc_01:.1%}",
            f"Acc@0.05: {self.acc_05:.1%}",
            f"visible-point coverage: {self.coverage:.1%}",
            f"points compared: {self.points}",
        ]
        lines += [
            f"track {i}: " + ("not compared" if np.isnan(value) else f"{value:.2f} px")
            for i, value in enumerate(self.track_errors)
        ]
        return "\n".join(lines)


def score(video: Video, tracks: Tracks, *, followed: Tracks | None = None) -> Score:
    """Follow each track's point through the video, from the first frame in which it is visible and on the canvas, and
    compare.

    video: [frames, height, width, 3] uint8 or float in 0..1. Tracks are resampled to its frames and resized to its size
    (taken to be in its pixels where they have no canvas). followed: measured tracks of another tracker, used instead.
    TracksError where the video has a single frame or no point of any track counts.
    """
    frames, _ = as_uint8(video)
    count, height, width = frames.shape[:3]
    if count < 2:
        raise TracksError("A score needs a video of at least two frames.")
    asked = tracks.resample(count).resize(width, height, source=(width, height)).clip()
    counted = asked.visibility.clone()
    starts = counted.int().argmax(0)
    everyone = torch.arange(asked.count)
    usable = counted.any(0)
    counted[starts, everyone] = False
    if not counted.any():
        raise TracksError("No track has a second visible frame on the canvas, so there is nothing to compare.")
    if followed is None:
        chosen = everyone[usable]
        found = follow(frames, asked.path[starts[chosen], chosen], start=starts[chosen].tolist())
        path, seen = asked.path.clone(), torch.zeros_like(asked.visibility)
        path[:, chosen], seen[:, chosen] = found.path, found.visibility
        followed = Tracks(path, seen, (width, height), asked.fps)
    elif (followed.frames, followed.count) != (count, asked.count):
        raise TracksError(
            f"The followed tracks are {followed.count} over {followed.frames} frames; "
            f"{asked.count} over {count} are needed."
        )
    away = (followed.path - asked.path).double()
    distance = away.norm(dim=-1)
    errors, diagonal = distance[counted], float(np.hypot(width, height))
    share = counted.sum(0)
    by_track = torch.where(share > 0, (distance * counted).sum(0) / share.clamp(min=1), torch.nan)
    return Score(
        error=errors.mean().item(),
        error_percent=100 * errors.mean().item() / min(width, height),
        traj_error=away.abs().sum(-1)[counted].mean().item(),
        acc_01=(errors <= 0.01 * diagonal).double().mean().item(),
        acc_05=(errors <= 0.05 * diagonal).double().mean().item(),
        coverage=followed.visibility[counted].double().mean().item(),
        points=int(counted.sum()),
        track_errors=tuple(by_track.tolist()),
        followed=followed,
        asked=asked,
    )


def draw_score(video: Video, result: Score) -> Video:
    """The comparison drawn on the video: what was asked as a pale line with a ring, what was followed in the track's
    colour with a dot, and the gap between the two in each frame. -> a video of the same kind."""
    frames, back = as_uint8(video)
    pen = Pen(frames.shape, None)
    asked, wanted = pen.place(result.asked)
    followed, seen = pen.place(result.followed)
    out = np.empty_like(frames)
    for t, frame in enumerate(frames):
        pen.clear()
        for i in range(result.asked.count):
            pen.line(asked[: t + 1, i], wanted[: t + 1, i], (255, 255, 255))
            pen.line(followed[: t + 1, i], seen[: t + 1, i], color(i))
            if wanted[t, i]:
                pen.stroke(np.stack([followed[t, i], asked[t, i]]), (255, 48, 48), 1.0, pen.edge)
            pen.point(asked[t, i], False, (255, 255, 255), 1.3)
            pen.point(followed[t, i], seen[t, i], color(i), 0.7)
        out[t] = pen.over(frame)
    return back(out)

