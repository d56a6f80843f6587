"""More points around each track: models follow a thing better when several of its points are given. Pure geometry."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from .tracks import Tracks, TracksError, check_size

MOST = 9  # points a track: one in the middle, eight round it


def spread(tracks: Tracks, points: int, radius: float) -> Tracks:
    """Each track and `points` - 1 more around it that move along with it and are visible when it is.

    points: 1 (the tracks as they are) to 9. radius: pixels of the canvas from the track to the added points, which
    stand evenly on a circle, the first to the right. The tracks themselves stay first, in their order.
    """
    if not 1 <= points <= MOST:
        raise TracksError(f"{points} points for each track: 1 to {MOST} are possible.")
    if not (math.isfinite(radius) and radius >= 0):
        raise TracksError(f"A radius of {radius} pixels: a number from 0 on is needed.")
    if points == 1:
        return tracks
    check_size(tracks.frames, tracks.count * points)
    angle = torch.arange(points - 1, dtype=torch.float64) * (2 * math.pi / (points - 1))
    offsets = (radius * torch.stack([angle.cos(), angle.sin()], dim=-1)).float()  # [points - 1, 2]
    around = (tracks.path[:, :, None] + offsets).flatten(1, 2)  # [frames, tracks * (points - 1), 2]
    return replace(
        tracks,
        path=torch.cat([tracks.path, around], dim=1),
        visibility=torch.cat([tracks.visibility, tracks.visibility.repeat_interleave(points - 1, dim=1)], dim=1),
    )
