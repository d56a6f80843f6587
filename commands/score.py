"""`score`: how closely a video file follows tracks, in words or as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor

from ..trajectory import Tracks
from ..trajectory.score import draw_score, score
from .files import write_video


def score_video(frames: Tensor, fps: float, tracks: Tracks, comparison: Path | None, as_json: bool) -> str:
    """The figures of [frames, height, width, 3] against the tracks; a drawn comparison too where one is asked for."""
    result = score(frames, tracks)
    if comparison is not None:
        write_video(comparison, draw_score(frames, result), fps)
    return json.dumps(result.figures(), indent=2) if as_json else result.report()
