"""Named camera moves, one after the other or at once, made into poses. Knows no file and no drawing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .poses import LENS, CameraPoses
from .tracks import TracksError

# Of a move at speed 1 over a whole clip: comfyui/utils.py:CAMERA of aigc-apps/EasyAnimate.
LENGTH, ANGLE = 1.5, np.pi / 3
LENS_ZOOM = 2.0  # how many times nearer a lens zoom looks at the end of a clip at speed 1

EASES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda t: t,
    "ease in": lambda t: t**2,
    "ease out": lambda t: 1 - (1 - t) ** 2,
    "ease in and out": lambda t: t**2 * (3 - 2 * t),
}


@dataclass(frozen=True)
class Move:
    """How the camera changes over a clip: shift: in units of LENGTH, of what is seen (the camera goes the other way);
    turn: about x, y and z, in units of ANGLE; orbit: the same round a point ahead; lens: of doublings of the focal
    length."""

    shift: tuple[float, float, float] = (0, 0, 0)
    turn: tuple[float, float, float] = (0, 0, 0)
    orbit: tuple[float, float, float] = (0, 0, 0)
    lens: float = 0


# The first nine as the release names and defines them (ACW and CW: the camera rolls), then ours.
MOVES: dict[str, Move] = {
    "Static": Move(),
    "Pan Up": Move(shift=(0, 1, 0)),
    "Pan Down": Move(shift=(0, -1, 0)),
    "Pan Left": Move(shift=(1, 0, 0)),
    "Pan Right": Move(shift=(-1, 0, 0)),
    "Zoom In": Move(shift=(0, 0, -2)),
    "Zoom Out": Move(shift=(0, 0, 2)),
    "ACW": Move(turn=(0, 0, 1)),
    "CW": Move(turn=(0, 0, -1)),
    "Dolly In": Move(shift=(0, 0, -1)),
    "Dolly Out": Move(shift=(0, 0, 1)),
    "Tilt Up": Move(turn=(-0.5, 0, 0)),
    "Tilt Down": Move(turn=(0.5, 0, 0)),
    "Turn Left": Move(turn=(0, 0.5, 0)),
    "Turn Right": Move(turn=(0, -0.5, 0)),
    "Orbit Left": Move(orbit=(0, -1, 0)),
    "Orbit Right": Move(orbit=(0, 1, 0)),
    "Orbit Up": Move(orbit=(0.5, 0, 0)),
    "Orbit Down": Move(orbit=(-0.5, 0, 0)),
    "Lens Zoom In": Move(lens=1),
    "Lens Zoom Out": Move(lens=-1),
}


def poses_of(
    names: Sequence[str], frames: int, *, speed: float = 1.0, ease: str = "linear", distance: float = 3.0
) -> CameraPoses:
    """The named MOVES at once, over `frames` frames; pose i is the share i / frames of the way, as in the release.

    speed: how far they go. ease: one of EASES. distance: of the point that an orbit goes round, ahead of the first
    camera. Turns add up as angles about the three axes (rotation Rz @ Ry @ Rx), shifts as vectors; orbits act before
    them.
    """
    if frames < 1:
        raise TracksError(f"{frames} camera poses: at least one is needed.")
    if not (np.isfinite(speed) and abs(speed) <= 100):
        raise TracksError(f"speed is {speed}: it must be within -100 and 100.")
    if not distance > 0:
        raise TracksError(f"distance is {distance}: it must be above 0.")
    if ease not in EASES:
        raise TracksError(f"ease is '{ease}': it must be one of {', '.join(EASES)}.")
    unknown = [name for name in names if name not in MOVES]
    if unknown:
        raise TracksError(f"'{unknown[0]}' is no camera move; there are {', '.join(MOVES)}.")
    moves = [MOVES[name] for name in names]
    progress = EASES[ease](np.arange(frames) / frames) * speed
    total = {part: np.sum([getattr(move, part) for move in moves] or [Move().shift], axis=0)
             for part in ("shift", "turn", "orbit")}  # fmt: skip
    ahead = np.array([0, 0, distance])
    matrices = np.empty((frames, 3, 4))
    for matrix, share in zip(matrices, progress):
        around = rotation(share * ANGLE * total["orbit"])
        turned = rotation(share * ANGLE * total["turn"])
        matrix[:, :3] = turned @ around
        matrix[:, 3] = turned @ (ahead - around @ ahead) + share * LENGTH * total["shift"]
    lens = np.tile(LENS, (frames, 1))
    lens[:, :2] *= LENS_ZOOM ** (progress * sum(move.lens for move in moves))[:, None]
    return CameraPoses(matrices, lens)


def in_sequence(names: Sequence[str | Sequence[str]], frames: int, **options) -> CameraPoses:
    """The named MOVES (or several at once) one after the other, each in an equal share of `frames`; options as for
    `poses_of`."""
    if not 1 <= len(names) <= frames:
        raise TracksError(f"{len(names)} camera moves one after the other need at least as many frames, not {frames}.")
    counts = [frames * (i + 1) // len(names) - frames * i // len(names) for i in range(len(names))]
    together = ([name] if isinstance(name, str) else name for name in names)
    first, *rest = (poses_of(part, count, **options) for part, count in zip(together, counts))
    for poses in rest:
        first = first.then(poses)
    return first


def rotation(angles) -> np.ndarray:
    """[3, 3] for angles about x, y and z in radians, applied in this order."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ (about_y @ about_x)
