"""The nodes that take tracks from a video, or spread them over a mask. Tracking and geometry are in `trajectory`;
nothing here knows a model."""

from __future__ import annotations

import torch
from torch import Tensor

from .inputs import InputError, as_tracks, check_image, naming

MOST_POINTS = 400  # in a mask: more are slower to follow and tell a model no more


class TrajectoryFromVideo:
    CATEGORY = "Trajectory/tracks"
    DESCRIPTION = (
        "Follows points through a video: on a grid, spread in a mask, or where given tracks start. Points that get "
        "hidden or lost become invisible."
    )
    RETURN_TYPES = ("TRACKS",)
    RETURN_NAMES = ("tracks",)
    OUTPUT_TOOLTIPS = ("Where the points are in every frame, on the size of the video.",)
    FUNCTION = "follow"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "video": ("IMAGE", {"tooltip": "The frames of the video."}),
                "columns": (
                    "INT",
                    {"default": 6, "min": 1, "max": 64,
                     "tooltip": "Points of the grid in a row. Not used with a mask or tracks."},
                ),
                "rows": (
                    "INT",
                    {"default": 4, "min": 1, "max": 64, "tooltip": "Rows of the grid. Not used with a mask or tracks."},
                ),
                "points": (
                    "INT",
                    {"default": 12, "min": 1, "max": MOST_POINTS,
                     "tooltip": "How many points are spread in the mask. Used with a mask only."},
                ),
                "start_frame": (
                    "INT",
                    {"default": 0, "min": 0, "max": 100_000,
                     "tooltip": "The frame, counted from 0, in which the points are given; they are followed forwards "
                                "and backwards from it."},
                ),
                "tolerance": (
                    "FLOAT",
                    {"default": 2.0, "min": 0.0, "max": 100.0, "step": 0.1,
                     "tooltip": "Pixels of the video by which a point that is followed there and back may miss its "
                                "way; where it does, it is invisible. 0: not checked, which is faster."},
                ),
            },
            "optional": {
                "mask": ("MASK", {"tooltip": "Points are spread in what is white."}),
                "tracks": (
                    "TRACKS",
                    {"tooltip": "Points start where these tracks are in the start frame; their own motion is not "
                                "used."},
                ),
            },
        }  # fmt: skip

    def follow(
        self, video: Tensor, columns: int = 6, rows: int = 4, points: int = 12, start_frame: int = 0,
        tolerance: float = 2.0, mask: Tensor | None = None, tracks=None,
    ):  # fmt: skip
        from ..trajectory.camera import grid
        from ..trajectory.place import follow_checked, points_in_mask

        video = check_image(video, "video")
        frames, height, width = video.shape[:3]
        if start_frame >= frames:
            raise InputError(f"start_frame: {start_frame} is not among the video's {frames} frames, 0 to {frames - 1}.")
        if mask is not None and tracks is not None:
            raise InputError("mask, tracks: the points come from one of them; connect only one.")
        if tracks is not None:
            with naming("tracks"):
                given = as_tracks(tracks, "tracks").resample(frames)
                given = given.resize(width, height, source=(width, height))
            starts = given.path[start_frame]
        elif mask is not None:
            with naming("mask"):
                starts = points_in_mask(check_mask(mask, start_frame), points, (width, height))
        else:
            starts = grid(width, height, 1, columns=columns, rows=rows).path[0]
        with naming("video"):
            return (follow_checked(video, starts, start=start_frame, tolerance=tolerance).to_comfy(),)


class TrajectoryFromMask:
    CATEGORY = "Trajectory/tracks"
    DESCRIPTION = (
        "Spreads points over a mask and moves them as one body with given tracks: along with one track, and with scale "
        "and rotation where two or more are given."
    )
    RETURN_TYPES = ("TRACKS",)
    RETURN_NAMES = ("tracks",)
    OUTPUT_TOOLTIPS = ("A track for each point in the mask.",)
    FUNCTION = "spread"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "mask": (
                    "MASK",
                    {"tooltip": "The thing that moves, as it is in the first frame: points are spread in what is "
                                "white."},
                ),
                "tracks": (
                    "TRACKS",
                    {"tooltip": "The leaders. One: the points keep their distance to it. Two or more: the points also "
                                "turn and grow as the leaders do to each other."},
                ),
                "points": (
                    "INT",
                    {"default": 12, "min": 1, "max": MOST_POINTS, "tooltip": "How many points are spread in the mask."},
                ),
            }
        }  # fmt: skip

    def spread(self, mask: Tensor, tracks, points: int = 12):
        from ..trajectory.place import carried, points_in_mask

        leaders = as_tracks(tracks, "tracks")
        with naming("mask"):
            area = check_mask(mask, 0)
            starts = points_in_mask(area, points, leaders.canvas or (area.shape[1], area.shape[0]))
        with naming("tracks"):
            return (carried(starts, leaders).to_comfy(),)


def check_mask(mask: Tensor, frame: int) -> Tensor:
    """A MASK [frames, height, width] or [height, width] -> [height, width] bool of that frame, or the last where it has
    fewer."""
    if not isinstance(mask, Tensor) or mask.ndim not in (2, 3) or 0 in mask.shape:
        found = list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise InputError(f"mask: a MASK is [frames, height, width] in 0..1; this is {found}.")
    mask = mask[None] if mask.ndim == 2 else mask
    return torch.as_tensor(mask[min(frame, len(mask) - 1)]).cpu() > 0.5


class TrajectoryFlowFromVideo:
    CATEGORY = "Trajectory/tracks"
    DESCRIPTION = (
        "The optical flow of a video, in the colours that Tora reads: connect it to control_video of Trajectory "
        "Encode, and the new video moves as this one does, everywhere."
    )
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("flow",)
    OUTPUT_TOOLTIPS = ("A picture for each frame: the hue is the direction, white is rest. The first is white.",)
    FUNCTION = "flow"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"video": ("IMAGE", {"tooltip": "The frames of the video whose motion is taken."})}}

    def flow(self, video: Tensor):
        from ..trajectory.flow import flow_colours, flow_of_video

        video = check_image(video, "video")
        with naming("video"):
            return (flow_colours(flow_of_video(video)).movedim(1, -1).float() / 255,)
