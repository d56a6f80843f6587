"""What EasyAnimate's models take beside a start picture and tracks: options of the command line, and what they say."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..trajectory.moves import MOVES, in_sequence
from ..trajectory.pose_files import read_poses
from ..trajectory.poses import CameraPoses
from .files import read_image, read_video

POSES = 49  # made of named moves; they are fitted to the clip


def add_extras(target: argparse.ArgumentParser) -> None:
    group = target.add_argument_group("what EasyAnimate's models take")
    group.add_argument("--end-image", type=Path, metavar="FILE", help="InP: the last frame")
    group.add_argument("--video", type=Path, metavar="FILE", help="a video to change; --denoise says how much")
    group.add_argument("--mask", type=Path, metavar="FILE", help="InP: a picture, white where the video is made anew")
    group.add_argument(
        "--camera",
        metavar="FILE|MOVES",
        help="Control-Camera: a CameraCtrl file, or moves: 'Pan Left + Zoom In' at once, 'Pan Left, Zoom In' in turn",
    )
    group.add_argument("--image-noise-seed", type=int, default=0, metavar="N", help="InP: of the noise on its pictures")
    group.add_argument("--denoise", type=float, default=1.0, metavar="X", help="below 1 keeps part of --video")
    group.add_argument(
        "--cfg-rescale", type=float, default=0.0, metavar="X", help="keeps strong guidance from burning in"
    )
    group.add_argument(
        "--step-cache", type=float, default=0.0, metavar="X", help="leaves out steps that change little; 0.1 is usual"
    )


def inputs_of_encode(options: argparse.Namespace) -> dict:
    """The inputs of Trajectory Encode that were given."""
    found = {"image_noise_seed": options.image_noise_seed}
    if options.end_image:
        found["end_image"] = read_image(options.end_image)
    if options.video:
        found["video"] = read_video(options.video)[0]
    if options.mask:
        found["mask"] = read_image(options.mask).mean(-1)
    if options.camera:
        found["camera_poses"] = camera_of(options.camera, options.frames or POSES)
    return found


def inputs_of_sampler(options: argparse.Namespace) -> dict:
    return {name: getattr(options, name) for name in ("denoise", "cfg_rescale", "step_cache")}


def camera_of(text: str, frames: int) -> CameraPoses:
    """Poses of a file, or of moves by name: '+' joins moves at once, ',' moves in turn."""
    if Path(text).is_file():
        return read_poses(text)
    names = [[name.strip() for name in part.split("+")] for part in text.split(",")]
    unknown = [name for part in names for name in part if name not in MOVES]
    if unknown:
        raise ValueError(f"--camera: '{unknown[0]}' is neither a file nor a move; moves are {', '.join(MOVES)}.")
    return in_sequence(names, frames)
