"""The node in which tracks are drawn, and what the editor in the browser asks of the server. The drawing is evaluated
in `trajectory` (document.py, spline.py); the editor itself is web/editor. Knows no model."""

from __future__ import annotations

import torch
from torch import Tensor

from ..trajectory import Tracks, to_coordinates
from ..trajectory.document import MAX_FRAMES, MAX_SIDE, parse
from ..trajectory.draw import draw_paths
from ..trajectory.formats import to_document, tracks_from_bytes
from ..trajectory.spline import owners
from .host import host
from .inputs import InputError, check_image, naming

DARK = 0.1  # of the overlay where no picture is connected


class TrajectorySplineEditor:
    CATEGORY = "Trajectory/tracks"
    DESCRIPTION = (
        "Draw how things move: splines, free-hand strokes, points, circles and grids over a picture, with timing, "
        "visibility and camera moves. The drawing is kept in the workflow."
    )
    RETURN_TYPES = ("TRACKS", "STRING", "IMAGE")
    RETURN_NAMES = ("tracks", "coordinates", "overlay")
    OUTPUT_TOOLTIPS = (
        "The drawn tracks.",
        "The same as JSON text for KJNodes' and ComfyUI's own track nodes: a point a frame, parts of a pixel kept.",
        "The picture with the paths drawn on it.",
    )
    FUNCTION = "evaluate"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        side = {"default": 0, "min": 0, "max": MAX_SIDE}
        says = "of the canvas in pixels. 0: of the connected image, else as drawn."
        return {
            "required": {
                "width": ("INT", {**side, "tooltip": f"Width {says}"}),
                "height": ("INT", {**side, "tooltip": f"Height {says}"}),
                "frames": (
                    "INT",
                    {"default": 81, "min": 1, "max": MAX_FRAMES,
                     "tooltip": "Frames of the clip. A drawing made for another number is stretched to it."},
                ),
                "fps": (
                    "FLOAT",
                    {"default": 16.0, "min": 0.1, "max": 240.0, "step": 0.1,
                     "tooltip": "Frames per second of the clip."},
                ),
                "editor_state": (
                    "STRING",
                    {"default": "", "multiline": True, "tooltip": "The drawing, as the editor keeps it (JSON)."},
                ),
            },
            "optional": {
                "image": (
                    "IMAGE",
                    {"tooltip": "What to draw on: a picture, or a video whose frames follow the editor's scrubber. "
                                "Pictures that are not loaded from a file appear after the first run."},
                ),
            },
        }  # fmt: skip

    def evaluate(
        self, width: int = 0, height: int = 0, frames: int = 81, fps: float = 16.0, editor_state: str = "",
        image: Tensor | None = None,
    ):  # fmt: skip
        shown = [] if image is None else host.show_background(check_image(image, "image"))
        if (width > 0) != (height > 0):
            raise InputError(f"width, height: {width}x{height} is no size. Give both, or leave both at 0.")
        with naming("editor_state"):
            document = parse(editor_state)
            canvas = (width, height)
            if not width:
                canvas = document.canvas if image is None else (image.shape[2], image.shape[1])
            tracks = Tracks.from_editor(editor_state, frames=frames, canvas=canvas, fps=fps)
            picture = torch.full((1, canvas[1], canvas[0], 3), DARK) if image is None else image[:1, ..., :3].cpu()
            colors = [track.color or (255, 255, 255) for track in owners(document)]
            overlay = draw_paths(picture, tracks, colors=colors)
        result = (tracks.to_comfy(), to_coordinates(tracks), overlay)
        size = {"width": canvas[0], "height": canvas[1], "frames": frames, "fps": fps}
        return {"ui": {"trajectory_background": shown, "trajectory_canvas": [size]}, "result": result}


def convert_tracks(data: bytes, query: dict) -> dict:
    """The content of a track file, called query["name"], as this pack's own JSON document, which the editor reads."""
    return to_document(tracks_from_bytes(data, query.get("name", "tracks")))


host.on_post("/trajectory/tracks", convert_tracks)
