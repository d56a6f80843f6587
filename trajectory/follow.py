"""An optical tracker: points given in one frame are found again in the others. It measures what a video shows, so it is
never told where the points were meant to go. Knows pictures; knows no model and no score.

Two searches help each other. Coarse: in a small copy of the video, the cheapest way through all frames along which the
point's surroundings look as in its first frame (coarse.py); it survives motion that is large for a small object. Fine:
pyramidal Lucas-Kanade from frame to frame on a ring of neighbours (the median moves the point), each step checked
backwards; then aligned with the first frame, the middle of the patch counting most, which removes drift and keeps the
ground behind a small object from pulling. Where that looks unlike the first frame, the coarse way is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .coarse import coarse_ways
from .images import Video, as_uint8, import_cv2
from .tracks import Tracks, TracksError

SIDE = 480  # pixels: smaller videos are enlarged so that their short side has this, larger ones reduced to twice this
ENLARGE = 6.0  # at most
SMOOTH = 0.7  # pixels of a small video: sigma of the blur that takes its noise away
# In pixels at that size:
SIZES = (41, 63, 95)  # of the patch round a point: the smallest that has something to hold on to
RETURN = 2.0  # how near the way back must end
DRIFT = 20.0  # how far the match with the first frame may lie from the frame-to-frame position
LEAP = 100.0  # a point that was seen in the last frame is not believed to move further
GRIP = 1.5  # grey levels a pixel: the slope across a patch, in the direction where it is least
# Correlation of patches, -1..1:
ALIKE, AGAIN = 0.5, 0.75  # still the same thing; certainly it, found again after being lost
FIRST = 0.2  # below this likeness to its first frame a point is taken to be hidden
SURE = 0.7  # above this the coarse way is not asked
BETTER = 0.2  # by so much more must the coarse way look like the first frame to be believed instead
RING = np.array([(0, 0)] + [(np.cos(a), np.sin(a)) for a in np.arange(8) * np.pi / 4], np.float32)
ENOUGH = 4  # neighbours of 9 that must come back


def follow(video: Video, points: Sequence | Tensor, *, start: int | Sequence[int] = 0) -> Tracks:
    """Where the points of frame `start` are in every frame.

    video: [frames, height, width, 3] uint8 or float in 0..1. points: [tracks, 2] pixels of that video. start: the frame
    in which the points are given, or one for each point; before and after it they are followed in both directions.
    -> Tracks on the video's size. A point that is lost or leaves the picture is invisible and held at its last known
    position; it is visible again where it is clearly found again. The position in frame `start` is the given one.
    """
    frames, _ = as_uint8(video)
    count, height, width = frames.shape[:3]
    points = np.asarray(torch.as_tensor(points).detach().cpu(), np.float32)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or not np.isfinite(points).all():
        raise TracksError(f"Points to follow are [tracks, 2] finite pixels, not {list(points.shape)}.")
    starts = np.broadcast_to(np.asarray(start, int), len(points))
    if ((starts < 0) | (starts >= count)).any():
        wrong = sorted(set(starts.tolist()))
        raise TracksError(f"Points start in frames {wrong}, but the video has frames 0 to {count - 1}.")

    short = min(height, width)
    scale = min(SIDE / short, ENLARGE) if short < SIDE else min(1.0, 2 * SIDE / short)
    pictures = Pictures(frames, scale)
    sizes = np.array([pictures.size_of_patch(first, point * scale - 0.5) for first, point in zip(starts, points)])
    path = np.repeat(points[None], count, axis=0)
    inside = ((points >= 0) & (points < (width, height))).all(-1)
    visible = np.repeat(inside[None], count, axis=0)
    for first, size in sorted({(f, z) for f, z, ok in zip(starts.tolist(), sizes.tolist(), inside) if ok}):
        chosen = np.flatnonzero(inside & (starts == first) & (sizes == size))
        for order in (range(first, count), range(first, -1, -1)):
            order = list(order)
            ways = coarse_ways(frames[order], points[chosen])
            found, seen = Tracker(pictures, size).run(points[chosen] * scale - 0.5, ways * scale - 0.5, order)
            path[np.ix_(order, chosen)] = (found + 0.5) / scale
            visible[np.ix_(order, chosen)] = seen
        path[first, chosen] = points[chosen]
    return Tracks(path, visible, (width, height))


class Pictures:
    """The video enlarged (or reduced) and smoothed for tracking."""

    def __init__(self, frames: np.ndarray, scale: float):
        cv2 = import_cv2()
        self.images = list(frames)
        if scale != 1:
            how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
            self.images = [cv2.resize(image, None, fx=scale, fy=scale, interpolation=how) for image in self.images]
        if scale > 1:
            self.images = [cv2.GaussianBlur(image, (0, 0), SMOOTH * scale) for image in self.images]
        self.grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in self.images]
        self.height, self.width = self.images[0].shape[:2]

    def patch(self, frame: int, at: np.ndarray, size: int) -> np.ndarray:
        place = tuple(float(v) for v in at)
        return import_cv2().getRectSubPix(self.images[frame], (size, size), place, patchType=import_cv2().CV_32F)

    def size_of_patch(self, frame: int, at: np.ndarray) -> int:
        """The smallest of SIZES in which the picture changes along every direction, else the one where it does most."""
        grips = []
        for size in SIZES:
            down, across = np.gradient(self.patch(frame, at, size).mean(-1))
            slopes = np.cov(np.stack([across.ravel(), down.ravel()]), bias=True)
            grips.append(np.sqrt(max(np.linalg.eigvalsh(slopes)[0], 0)))
            if grips[-1] >= GRIP:
                return size
        return SIZES[int(np.argmax(grips))]


class Tracker:
    """Follows points that share a patch size; positions are in pixels of the pictures, pixel centres whole."""

    def __init__(self, pictures: Pictures, size: int):
        self.cv2 = import_cv2()
        self.pictures, self.size = pictures, size
        self.offsets = RING * (size * 0.27)
        bell = self.cv2.getGaussianKernel(size, size * 0.25)
        self.weights = ((bell @ bell.T)[..., None] / 3).astype(np.float32)

    def patch(self, frame: int, at: np.ndarray) -> np.ndarray:
        return self.pictures.patch(frame, at, self.size)

    def run(self, points: np.ndarray, ways: np.ndarray, order: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """points [n, 2] in frame order[0] and their coarse ways [len(order), n, 2] -> positions [len(order), n, 2] and
        visibility [len(order), n]."""
        points = points.astype(np.float32)
        path, seen = np.repeat(points[None], len(order), axis=0), np.ones((len(order), len(points)), bool)
        speed = np.zeros_like(points)
        born = [self.patch(order[0], point) for point in points]
        for k in range(1, len(order)):
            last, now, at = order[k - 1], order[k], path[k - 1]
            best, alike = self.step(last, now, at, speed)
            alike[~seen[k - 1]] = -1.0
            best, first = self.settle(now, best, born)
            first[alike < ALIKE] = -1.0
            doubt = np.flatnonzero(first < SURE)
            if len(doubt):
                other = [born[i] for i in doubt]
                coarse, again = self.settle(now, ways[k, doubt].astype(np.float32), other)
                jump = again >= np.where(seen[k - 1, doubt], np.maximum(first[doubt] + BETTER, ALIKE), AGAIN)
                jump &= ~seen[k - 1, doubt] | (np.linalg.norm(coarse - at[doubt], axis=-1) < LEAP)
                best[doubt[jump]], first[doubt[jump]] = coarse[jump], again[jump]
            seen[k] = (first >= FIRST) & self.on_picture(best)
            path[k] = np.where(seen[k][:, None], best, at)
            steady = seen[k] & seen[k - 1]
            speed = np.where(steady[:, None], path[k] - at, 0).astype(np.float32)
        return path, seen

    def step(self, last: int, now: int, at: np.ndarray, speed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The likelier of two new positions [n, 2], looked for at rest and at the last speed, and how alike [n] to the
        last frame it looks there (-1: not found)."""
        best, likeness = at.copy(), np.full(len(at), -1.0)
        patches = [self.patch(last, point) for point in at]
        for guess, levels in ((at, 3), (at + speed, 1)):
            if levels == 1 and np.abs(speed).max() < 1:
                break
            moved, found = self.flow(last, now, at, guess, levels)
            for i in np.flatnonzero(found):
                if (match := self.alike(patches[i], self.patch(now, moved[i]))) > likeness[i]:
                    best[i], likeness[i] = moved[i], match
        return best, likeness

    def settle(self, now: int, at: np.ndarray, born: list) -> tuple[np.ndarray, np.ndarray]:
        """Positions [n, 2] corrected by matching the first frame directly, where that is near and looks no worse; and
        how alike [n] to the first frame they look."""
        at = at.copy()
        likeness = np.array([self.alike(patch, self.patch(now, point)) for patch, point in zip(born, at)])
        for i, patch in enumerate(born):
            place = self.align(patch, now, at[i])
            if np.linalg.norm(place - at[i]) < DRIFT:
                match = self.alike(patch, self.patch(now, place))
                if match >= max(ALIKE, likeness[i]):
                    at[i], likeness[i] = place, match
        return at, likeness

    def align(self, patch: np.ndarray, frame: int, at: np.ndarray) -> np.ndarray:
        """Where near `at` [2] the frame matches the patch best: Gauss-Newton on the translation (Baker and Matthews
        2004, inverse compositional), the middle counting most, indifferent to brightness."""
        down, across = np.gradient(patch, axis=(0, 1))
        slopes = np.stack([across, down], axis=-1).reshape(-1, 2)
        weighted = slopes * np.broadcast_to(self.weights, patch.shape).reshape(-1, 1)
        normal = slopes.T @ weighted + 1e-3 * np.eye(2)
        ours = patch - (patch * self.weights).sum((0, 1)) * 3
        at = at.astype(np.float64)
        for _ in range(12):
            theirs = self.patch(frame, at)
            difference = theirs - (theirs * self.weights).sum((0, 1)) * 3 - ours
            move = np.linalg.solve(normal, weighted.T @ difference.reshape(-1))
            at = at - move
            if np.abs(move).max() < 0.02:
                break
            if not np.isfinite(at).all() or np.abs(move).max() > 50:
                return np.full(2, np.inf)
        return at

    def alike(self, a: np.ndarray, b: np.ndarray) -> float:
        """Correlation of two patches, -1..1, all colours together, the middle counting most."""
        a, b = a - (a * self.weights).sum(), b - (b * self.weights).sum()
        size = (a * a * self.weights).sum() * (b * b * self.weights).sum()
        return float((a * b * self.weights).sum() / np.sqrt(size + 1.0))

    def flow(self, a: int, b: int, at: np.ndarray, guess: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray]:
        """Lucas-Kanade of each point's ring from frame a to b, starting at `guess`, checked backwards -> [n, 2], found
        [n]."""
        options = dict(
            winSize=(self.size, self.size), maxLevel=levels, minEigThreshold=1e-5,
            flags=self.cv2.OPTFLOW_USE_INITIAL_FLOW,
            criteria=(self.cv2.TERM_CRITERIA_EPS | self.cv2.TERM_CRITERIA_COUNT, 40, 0.01),
        )  # fmt: skip
        ring = (at[:, None] + self.offsets).astype(np.float32).reshape(-1, 1, 2)
        aim = (guess[:, None] + self.offsets).astype(np.float32).reshape(-1, 1, 2)
        a, b = self.pictures.grey[a], self.pictures.grey[b]
        there, ok, _ = self.cv2.calcOpticalFlowPyrLK(a, b, ring, aim.copy(), **options)
        back, ok_back, _ = self.cv2.calcOpticalFlowPyrLK(b, a, there, there - (aim - ring), **options)
        error = np.linalg.norm(back - ring, axis=-1).reshape(len(at), -1)
        good = (ok.reshape(error.shape) > 0) & (ok_back.reshape(error.shape) > 0) & (error < RETURN)
        shift = (there - ring).reshape(len(at), -1, 2)
        shift[~good] = np.nan
        found = good.sum(1) >= ENOUGH
        moved = at.copy()
        for i in np.flatnonzero(found):
            moved[i] = at[i] + np.nanmedian(shift[i], axis=0)
        return moved, found

    def on_picture(self, at: np.ndarray) -> np.ndarray:
        return ((at >= -0.5) & (at < (self.pictures.width - 0.5, self.pictures.height - 0.5))).all(-1)

