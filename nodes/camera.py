"""The nodes of camera poses. The geometry is in `trajectory`; no model is known here."""

from __future__ import annotations

import torch
from torch import Tensor

from ..trajectory.moves import EASES, MOVES, in_sequence, poses_of
from ..trajectory.pose_files import parse_poses, read_poses, to_json, write_poses
from ..trajectory.poses import CameraPoses
from .host import host
from .inputs import InputError, check_image, choice, file_prefix, integer, naming, number, saved, socket, text, verdict

MANY = 4
NO_FILE = "none"
AT_ONCE, ONE_BY_ONE = "at once", "one after the other"


class TrajectoryCameraPoses:
    CATEGORY = "Trajectory/tracks"
    DESCRIPTION = (
        "The way of a camera: named moves, a CameraCtrl file, or both, one after the other. For EasyAnimate's "
        "Control-Camera model, and as approximate tracks for every other model."
    )
    RETURN_TYPES = ("TRAJECTORY_CAMERA", "TRACKS", "IMAGE", "STRING")
    RETURN_NAMES = ("camera_poses", "tracks", "picture", "json")
    OUTPUT_TOOLTIPS = (
        "The poses, for Trajectory Encode with EasyAnimate's Control-Camera model.",
        "Where a grid of points is seen on the way, for models that follow tracks (ATI, Tora). Approximate: the depth "
        "is a guess.",
        "The way of the camera from above and from the side.",
        "The poses as EasyAnimate's own nodes exchange them (camera_conditions).",
    )
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        moves = list(MOVES)
        more = {
            f"move_{i}": choice(moves, f"Move {i}. Static: none. Several act as `arrange` says.")
            for i in range(2, MANY + 1)
        }
        return {
            "required": {
                "move_1": choice(
                    moves,
                    "What the camera does. Pan and Dolly: it slides; Zoom In and Out: it slides faster forward and "
                    "back, as in EasyAnimate; ACW, CW: it rolls; Tilt, Turn: it looks elsewhere; Orbit: it goes round "
                    "a point ahead; Lens Zoom: it stays and the lens zooms.",
                ),
                **more,
                "arrange": choice(
                    [AT_ONCE, ONE_BY_ONE], "Whether the moves act together over the whole clip, or follow one another.",
                ),
                "speed": number(1.0, -10.0, 10.0, 0.05, "How far the moves go. Negative: the other way."),
                "ease": choice(list(EASES), "How the camera starts and stops."),
                "frames": integer(49, 1, 4096, "Poses of the moves, one a frame. Encode fits them to the clip."),
                "distance": number(
                    3.0, 0.1, 1000.0, 0.1,
                    "How far ahead lies what an orbit goes round, and the scene of the tracks. A pan at speed 1 slides "
                    "by 1.5.",
                ),
                "width": integer(672, 16, 8192, "Width of the video in pixels, for the tracks."),
                "height": integer(384, 16, 8192, "Height of the video in pixels, for the tracks."),
                "columns": integer(6, 1, 64, "Points of the tracks' grid in a row."),
                "rows": integer(4, 1, 64, "Rows of the tracks' grid."),
                "file": choice(
                    [NO_FILE, *host.input_files((".txt",))],
                    "A camera file of CameraCtrl or RealEstate10K in ComfyUI's input folder; the moves follow it.",
                ),
            },
            "optional": {
                "before": socket("TRAJECTORY_CAMERA", "Poses that come first."),
                "poses": text(
                    "",
                    "Poses as text: the lines of a CameraCtrl file, or the camera_trajectory of EasyAnimate's own "
                    "nodes. The moves follow them.",
                    forceInput=True,
                ),
                "nearness": socket(
                    "IMAGE",
                    "A picture of depth for the tracks, bright where near, as depth estimators draw it: white lies at "
                    "half the distance, black at twice.",
                ),
            },
        }  # fmt: skip

    @classmethod
    def VALIDATE_INPUTS(cls, file: str):
        return file == NO_FILE or verdict(lambda: host.input_path(file, "file"))

    def make(
        self, move_1: str = "Static", move_2: str = "Static", move_3: str = "Static", move_4: str = "Static",
        arrange: str = AT_ONCE, speed: float = 1.0, ease: str = "linear", frames: int = 49, distance: float = 3.0,
        width: int = 672, height: int = 384, columns: int = 6, rows: int = 4, file: str = NO_FILE, before=None,
        poses: str = "", nearness: Tensor | None = None,
    ):  # fmt: skip
        from ..trajectory.draw_poses import draw_poses

        parts = [check_poses(before, "before")] if before is not None else []
        if file != NO_FILE:
            with naming("file"):
                parts.append(read_poses(host.input_path(file, "file")))
        if poses.strip():
            with naming("poses"):
                parts.append(parse_poses(poses))
        names = [name for name in (move_1, move_2, move_3, move_4) if name != "Static"]
        if names or not parts:
            with naming("move_1, move_2, move_3, move_4, speed, ease, frames, distance"):
                make = in_sequence if arrange == ONE_BY_ONE and names else poses_of
                parts.append(make(names, frames, speed=speed, ease=ease, distance=distance))
        whole = parts[0]
        for part in parts[1:]:
            whole = whole.then(part)
        tracks = self.tracks(whole, width, height, columns, rows, distance, nearness)
        picture = torch.from_numpy(draw_poses(whole))[None].float() / 255
        return whole, tracks.to_comfy(), picture, to_json(whole)

    def tracks(self, poses: CameraPoses, width, height, columns, rows, distance, nearness):
        from ..trajectory.project import depth_of_brightness, tracks_of_poses

        depth = distance
        if nearness is not None:
            bright = check_image(nearness, "nearness")[0].float().mean(-1).cpu().numpy()
            depth = depth_of_brightness(bright, distance)
        with naming("width, height, columns, rows, distance"):
            return tracks_of_poses(poses, width, height, columns=columns, rows=rows, depth=depth)


class TrajectorySaveCameraPoses:
    CATEGORY = "Trajectory/tracks"
    DESCRIPTION = "Saves camera poses as a CameraCtrl text file in ComfyUI's output folder."
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("path",)
    OUTPUT_TOOLTIPS = ("Where the file is.",)
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "camera_poses": socket("TRAJECTORY_CAMERA", "From Trajectory Camera Poses."),
                "filename_prefix": file_prefix("camera/trajectory"),
                "fps": number(8.0, 0.1, 1000.0, 0.1, "Frames per second, for the times in the file."),
            },
        }  # fmt: skip

    def save(self, camera_poses, filename_prefix: str = "camera/trajectory", fps: float = 8.0):
        poses = check_poses(camera_poses, "camera_poses")
        with naming("filename_prefix"):
            path = write_poses(host.output_path(filename_prefix, ".txt"), poses, fps)
        return saved(path)


def check_poses(value, node_input: str) -> CameraPoses:
    if not isinstance(value, CameraPoses):
        raise InputError(
            f"{node_input}: these are no camera poses ({type(value).__name__}): Trajectory Camera Poses makes some."
        )
    return value
