"""Where points start and what carries them: spread in a mask, followed through a video with a check, moved as one body
with leaders. Knows masks, tracks and the tracker (follow.py); knows no ComfyUI."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .follow import follow
from .images import Video, as_uint8
from .tracks import Tracks, TracksError, check_size

CANDIDATES = 4096  # places of a mask that are looked at
RELAXATIONS = 12  # of Lloyd's; later ones move points by less than a pixel
ROUNDS = 8  # times that a way is asked where it comes from; what still does not answer then is dropped


def points_in_mask(mask: Tensor, count: int, canvas: tuple[int, int] | None = None) -> Tensor:
    """`count` points spread evenly in a mask [height, width] bool -> [count, 2] pixels of the canvas (the mask's size
    where none is given).

    Farthest-point sampling from the middle, then Lloyd's relaxation (1982), each point at a pixel of the mask; the same
    mask gives the same points. Fewer where the mask has fewer pixels. TracksError where it has none.
    """
    height, width = mask.shape
    rows, columns = np.nonzero(np.asarray(mask, bool))
    if not len(rows):
        raise TracksError("nothing is white in it, so there is no place for points.")
    check_size(1, count)
    places = np.stack([columns, rows], axis=-1) + 0.5
    if len(places) > CANDIDATES:
        places = places[np.linspace(0, len(places) - 1, CANDIDATES).round().astype(int)]
    count = min(count, len(places))
    distance = lambda points: np.linalg.norm(places[:, None] - points[None], axis=-1)  # noqa: E731  [places, points]
    chosen = [int(distance(places.mean(0, keepdims=True))[:, 0].argmin())]
    reach = distance(places[chosen])[:, 0]
    while len(chosen) < count:
        chosen.append(int(reach.argmax()))
        reach = np.minimum(reach, distance(places[chosen[-1:]])[:, 0])
    points = places[chosen]
    for _ in range(RELAXATIONS):
        nearest = distance(points).argmin(1)
        middle = np.stack([places[nearest == i].mean(0) if (nearest == i).any() else points[i] for i in range(count)])
        closest = distance(middle).argmin(0)
        if len(np.unique(closest)) < count:
            break  # a mask of few pixels: two would share one
        points = places[closest]
    scale = (1, 1) if canvas is None else (canvas[0] / width, canvas[1] / height)
    return torch.from_numpy(points * scale).float()


def follow_checked(video: Video, points: Tensor, *, start: int = 0, tolerance: float = 2.0) -> Tracks:
    """follow.py's tracks of points [tracks, 2] given in frame `start`, checked in both directions of time: a point is
    visible where it can be followed back to within `tolerance` pixels of where it was given, over the places where it
    was seen; elsewhere it is invisible and held at its last place that is. tolerance 0: no check."""
    tracks = follow(video, points, start=start)
    if not tolerance > 0:
        return tracks
    frames, _ = as_uint8(video)
    path, visible = tracks.path.numpy().copy(), tracks.visibility.numpy().copy()
    for span in (slice(start, None), slice(start, None, -1)):
        way, seen = path[span], visible[span]  # views, `start` first
        seen[:] = leads_back(frames[span], way, seen, tolerance)
        for k in range(1, len(way)):
            way[k] = np.where(seen[k][:, None], way[k], way[k - 1])
    return Tracks(torch.from_numpy(path), torch.from_numpy(visible), tracks.canvas, tracks.fps)


def leads_back(frames: np.ndarray, way: np.ndarray, seen: np.ndarray, tolerance: float) -> np.ndarray:
    """Where ways [frames, tracks, 2] of points given in the first frame, seen [frames, tracks], are where they should
    be -> [frames, tracks] bool.

    Each is followed back from the last frame in which it is seen. Where that does not end at the given point, what lies
    after the frame at which both ways part was something else: it is dropped, and the rest is asked again.
    """
    seen, good = seen.copy(), np.zeros_like(seen)
    good[0] = seen[0]
    asked = np.flatnonzero(seen[0])
    for _ in range(ROUNDS):
        last = len(seen) - 1 - seen[::-1].argmax(0)
        asked = asked[last[asked] > 0]
        for end in sorted(set(last[asked].tolist())):
            chosen = asked[last[asked] == end]
            back = follow(frames[: end + 1], way[end, chosen], start=end)
            apart = np.linalg.norm(back.path.numpy() - way[: end + 1, chosen], axis=-1)
            same = (apart <= tolerance) & back.visibility.numpy()
            parted = end - same[::-1].argmin(0)  # the last frame in which they differ, where there is one
            for track, alike, frame in zip(chosen, same.T, parted):
                if alike[0]:
                    good[: end + 1, track] = seen[: end + 1, track] & alike
                    seen[1:, track] = False  # it is answered
                else:
                    seen[frame + 1 :, track] = False
    return good


def carried(points: Tensor, leaders: Tracks) -> Tracks:
    """Points [tracks, 2], given in the first frame, that move as one body with the leaders.

    One leader: they keep their offset to it. More: the similarity (shift, rotation, scale) that fits the leaders'
    positions best by least squares, exactly for two (Umeyama 1991, without reflection). Visible where any leader is.
    TracksError where several leaders start at one place, so that no rotation can be told.
    """
    path = torch.view_as_complex(leaders.path.double().contiguous())  # [frames, leaders]
    middle = path.mean(1)
    offsets = path - middle[:, None]
    size = (offsets[0].abs() ** 2).sum()
    turn = torch.ones_like(middle)
    if leaders.count > 1:
        if size < 1e-6:
            raise TracksError(
                f"all {leaders.count} leaders start at one place, so they tell no rotation or scale: give one of them."
            )
        turn = (offsets[0].conj() * offsets).sum(1) / size
    around = torch.view_as_complex(points.double().contiguous()) - middle[0]
    moved = torch.view_as_real(middle[:, None] + turn[:, None] * around).float()
    visible = leaders.visibility.any(1, keepdim=True).expand(-1, len(points))
    return Tracks(moved, visible, leaders.canvas, leaders.fps)
