"""The nodes that make, read, edit, save and draw tracks. The geometry is in `trajectory`; no model is known here."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..trajectory import parse_coordinates, read_tracks, write_tracks
from ..trajectory.camera import camera, grid
from ..trajectory.draw import draw_tracks
from .host import host
from .inputs import (
    InputError,
    as_tracks,
    canvas_of,
    check_image,
    choice,
    file_prefix,
    integer,
    naming,
    number,
    saved,
    socket,
    text,
    tracks_socket,
    verdict,
)

TRACK_ENDINGS = (".json", ".pth", ".pt", ".npz", ".npy", ".txt")


CANVAS = {
    f"canvas_{side.lower()}": integer(
        0, 0, 65536,
        f"{side} in pixels of what the tracks were drawn on. 0: as the file or the image says, else as the video.",
    )
    for side in ("Width", "Height")
}  # fmt: skip


class TrajectoryFromCoordinates:
    CATEGORY = "Trajectory/tracks"
    DESCRIPTION = (
        "Reads tracks from coordinates as JSON text: one or many lists of points, as KJNodes' Spline Editor and "
        "ComfyUI's own track nodes give them."
    )
    RETURN_TYPES = ("TRACKS",)
    RETURN_NAMES = ("tracks",)
    OUTPUT_TOOLTIPS = ("The tracks.",)
    FUNCTION = "read"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "coordinates": text(
                    '[{"x": 100, "y": 200}, {"x": 300, "y": 120}]',
                    "The points of a track, [{\"x\": 1, \"y\": 2}, …], or a list of such lists. Any number of "
                    "points: they are spread evenly over the clip. Places outside the picture are valid.",
                    multiline=True,
                ),
                **CANVAS,
            },
            "optional": {
                "image": socket("IMAGE", "The picture that the tracks were drawn on: its size is used."),
            },
        }  # fmt: skip

    def read(self, coordinates: str, canvas_width: int = 0, canvas_height: int = 0, image: Tensor | None = None):
        canvas = canvas_of(canvas_width, canvas_height, image)
        with naming("coordinates"):
            return (parse_coordinates(coordinates, canvas=canvas).to_comfy(),)


class TrajectoryLoadTracks:
    CATEGORY = "Trajectory/tracks"
    DESCRIPTION = (
        "Reads a track file from ComfyUI's input folder: ATI's .pth, Tora's .txt, CoTracker's .npz, .npy pairs, "
        "coordinates or this pack's .json. What it is, is read from the file itself."
    )
    RETURN_TYPES = ("TRACKS",)
    RETURN_NAMES = ("tracks",)
    OUTPUT_TOOLTIPS = ("The tracks.",)
    FUNCTION = "read"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "file": choice(
                    host.input_files(TRACK_ENDINGS),
                    "A track file in ComfyUI's input folder. 'example/…' come with this pack.",
                ),
                **CANVAS,
            },
            "optional": {
                "image": socket("IMAGE", "The picture that the tracks were drawn on: ATI's files need its size."),
            },
        }  # fmt: skip

    @classmethod
    def VALIDATE_INPUTS(cls, file: str):
        return verdict(lambda: host.input_path(file, "file"))

    @classmethod
    def IS_CHANGED(cls, file: str, **others) -> str:
        state = host.input_path(file, "file").stat()
        return f"{state.st_mtime_ns} {state.st_size}"

    def read(self, file: str, canvas_width: int = 0, canvas_height: int = 0, image: Tensor | None = None):
        path = host.input_path(file, "file")
        canvas = canvas_of(canvas_width, canvas_height, image)
        with naming("file"):
            return (read_tracks(path, canvas=canvas).to_comfy(),)


class TrajectorySaveTracks:
    CATEGORY = "Trajectory/tracks"
    DESCRIPTION = (
        "Saves tracks to a file in ComfyUI's output folder, for this pack, ATI, Tora, or tools that read NumPy files."
    )
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("path",)
    OUTPUT_TOOLTIPS = ("Where the file is.",)
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "tracks": tracks_socket(),
                "filename_prefix": file_prefix("tracks/trajectory"),
                "format": choice(
                    ["json", "pth", "npz", "npy", "txt"],
                    "json: everything, exactly. pth: ATI's own, 121 frames and no canvas. npz: as CoTracker. "
                    "npy: as Wan-Move. txt: Tora's, a file for each track, whole numbers on a 256 x 256 canvas.",
                ),
            },
        }  # fmt: skip

    def save(self, tracks, filename_prefix: str = "tracks/trajectory", format: str = "json"):
        tracks = as_tracks(tracks, "tracks")
        with naming("filename_prefix"):
            path = write_tracks(host.output_path(filename_prefix, f".{format}"), tracks)
        return saved(path)


class TrajectoryMerge:
    CATEGORY = "Trajectory/tracks"
    DESCRIPTION = (
        "Joins tracks, so that all act in one clip. Shorter ones are stretched to the longest; all are brought "
        "onto the first canvas."
    )
    RETURN_TYPES = ("TRACKS",)
    RETURN_NAMES = ("tracks",)
    OUTPUT_TOOLTIPS = ("All tracks together.",)
    FUNCTION = "merge"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "tracks_1": tracks_socket(" Its canvas is used for all."),
                "tracks_2": tracks_socket(),
            },
            "optional": {
                "tracks_3": tracks_socket(),
                "tracks_4": tracks_socket(),
            },
        }  # fmt: skip

    def merge(self, tracks_1, tracks_2, tracks_3=None, tracks_4=None):
        given = {"tracks_1": tracks_1, "tracks_2": tracks_2, "tracks_3": tracks_3, "tracks_4": tracks_4}
        first, *others = (as_tracks(value, name) for name, value in given.items() if value is not None)
        with naming(", ".join(given)):
            return (first.merge(*others).to_comfy(),)


class TrajectoryTransform:
    CATEGORY = "Trajectory/tracks"
    DESCRIPTION = "Moves, enlarges, turns, delays or resamples tracks as a whole."
    RETURN_TYPES = ("TRACKS",)
    RETURN_NAMES = ("tracks",)
    OUTPUT_TOOLTIPS = ("The tracks after the change.",)
    FUNCTION = "transform"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "tracks": tracks_socket(),
                "move_x": number(
                    0.0, -65536.0, 65536.0, 1.0,
                    "Pixels of the canvas to the right (left where negative).",
                ),
                "move_y": number(0.0, -65536.0, 65536.0, 1.0, "Pixels of the canvas down (up where negative)."),
                "scale": number(1.0, 0.01, 100.0, 0.01, "Larger or smaller, from the middle of the canvas."),
                "rotate": number(0.0, -360.0, 360.0, 1.0, "Degrees clockwise round the middle of the canvas."),
                "delay": number(
                    0.0, -1024.0, 1024.0, 1.0,
                    "Frames by which everything happens later (earlier where negative); the ends are held.",
                ),
                "frames": integer(0, 0, 4096, "The same motion in this many frames. 0: as many as there are."),
                "width": integer(0, 0, 65536, "Fits the tracks to a canvas of this width. 0: as it is."),
                "height": integer(0, 0, 65536, "Fits the tracks to a canvas of this height. 0: as it is."),
            },
        }  # fmt: skip

    def transform(
        self, tracks, move_x: float = 0.0, move_y: float = 0.0, scale: float = 1.0, rotate: float = 0.0,
        delay: float = 0.0, frames: int = 0, width: int = 0, height: int = 0,
    ):  # fmt: skip
        tracks = as_tracks(tracks, "tracks")
        with naming("scale"):
            tracks = tracks if scale == 1 else tracks.zoom(scale)
        with naming("rotate"):
            tracks = tracks if rotate == 0 else tracks.rotate(rotate)
        with naming("move_x, move_y"):
            tracks = tracks.pan(move_x, move_y)
        with naming("delay"):
            tracks = tracks if delay == 0 else tracks.shift_time(delay)
        with naming("frames"):
            tracks = tracks.resample(frames or tracks.frames)
        if (width > 0) != (height > 0):
            raise InputError(f"width, height: {width}x{height} is no size. Give both, or leave both at 0.")
        with naming("width, height"):
            tracks = tracks.resize(width, height) if width else tracks
        return (tracks.to_comfy(),)


class TrajectoryCameraMotion:
    CATEGORY = "Trajectory/tracks"
    DESCRIPTION = (
        "Moves the camera: as tracks of a grid of points that pan, zoom and turn together, or added to given "
        "tracks, which then do both."
    )
    RETURN_TYPES = ("TRACKS",)
    RETURN_NAMES = ("tracks",)
    OUTPUT_TOOLTIPS = ("The grid's tracks, or the given tracks with the camera's motion added.",)
    FUNCTION = "move"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "pan_x": number(
                    0.0, -1000.0, 1000.0, 0.1,
                    "How far the picture moves to the right at each frame, in `unit`.",
                ),
                "pan_y": number(0.0, -1000.0, 1000.0, 0.1, "How far the picture moves down at each frame, in `unit`."),
                "zoom": number(
                    0.0, -1000.0, 1000.0, 0.1,
                    "How much the picture grows at each frame, in `unit`; positive moves in, negative out.",
                ),
                "rotate": number(
                    0.0, -1000.0, 1000.0, 0.1,
                    "By how many degrees the picture turns clockwise at each frame.",
                ),
                "unit": choice(
                    ["percent", "pixels"],
                    "Of pan and zoom. percent: of the canvas's width and height a frame. pixels: of the "
                    "canvas; zoom moves the middle of the nearest edge by that much.",
                ),
                "width": integer(832, 1, 65536, "Width of the canvas in pixels. Not used with tracks that have one."),
                "height": integer(480, 1, 65536, "Height of the canvas in pixels. Not used with tracks that have one."),
                "frames": integer(81, 1, 4096, "Frames of the motion. Not used with given tracks."),
                "columns": integer(6, 1, 64, "Points of the grid in a row. Not used with given tracks."),
                "rows": integer(4, 1, 64, "Rows of the grid. Not used with given tracks."),
            },
            "optional": {
                "tracks": socket("TRACKS", "Tracks to which the camera's motion is added, instead of a grid."),
            },
        }  # fmt: skip

    def move(
        self, pan_x: float = 0.0, pan_y: float = 0.0, zoom: float = 0.0, rotate: float = 0.0, unit: str = "percent",
        width: int = 832, height: int = 480, frames: int = 81, columns: int = 6, rows: int = 4, tracks=None,
    ):  # fmt: skip
        if tracks is None:
            with naming("width, height, frames, columns, rows"):
                tracks = grid(width, height, frames, columns=columns, rows=rows)
        else:
            tracks = as_tracks(tracks, "tracks")
            if tracks.canvas is None:
                tracks = replace(tracks, canvas=(width, height))
        with naming("pan_x, pan_y, zoom, rotate, unit"):
            return (camera(tracks, pan=(pan_x, pan_y), zoom=zoom, rotate=rotate, unit=unit).to_comfy(),)


class TrajectoryPreview:
    CATEGORY = "Trajectory/tracks"
    DESCRIPTION = (
        "Draws tracks over a picture or a video: a trail that changes colour with age, and the current points."
    )
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("frames",)
    OUTPUT_TOOLTIPS = ("A picture a frame, with the tracks drawn on it.",)
    FUNCTION = "draw"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "tracks": tracks_socket(),
            },
            "optional": {
                "image": socket(
                    "IMAGE",
                    "What to draw on: a picture, or the frames of a video. Without it: a dark canvas.",
                ),
            },
        }  # fmt: skip

    def draw(self, tracks, image: Tensor | None = None):
        tracks = as_tracks(tracks, "tracks")
        if image is None:
            with naming("tracks"):
                width, height = tracks.canvas or span(tracks)
                image = torch.full((1, height, width, 3), 0.1)
        image = check_image(image, "image")
        with naming("tracks"):
            return (draw_tracks(image, tracks),)


def span(tracks) -> tuple[int, int]:
    """A size (width, height) that holds all positions, for tracks that do not say what they were drawn on."""
    furthest = tracks.path.amax((0, 1)).clamp(min=63, max=4095)
    return tuple(int(side) + 1 for side in furthest)
