"""The node that measures how closely a video follows its tracks. The measures themselves are in `trajectory.score`."""

from __future__ import annotations

from torch import Tensor

from ..trajectory.score import draw_score, score
from .inputs import as_tracks, check_image, naming, socket


class TrajectoryScore:
    CATEGORY = "Trajectory/evaluation"
    DESCRIPTION = (
        "Measures how closely a video follows tracks: its points are followed optically from the tracks' first "
        "positions, and the distance to the tracks is measured."
    )
    RETURN_TYPES = ("STRING", "IMAGE", "FLOAT", "FLOAT")
    RETURN_NAMES = ("report", "comparison", "error_pixels", "error_percent")
    OUTPUT_TOOLTIPS = (
        "All figures, a line each.",
        "The video with the tracks as they were meant and as they were measured.",
        "Mean distance to the tracks in pixels of the video.",
        "Mean distance to the tracks in percent of the video's shorter side.",
    )
    FUNCTION = "score"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "video": socket("IMAGE", "The frames of the video to measure."),
                "tracks": socket("TRACKS", "The tracks that it should follow."),
            },
        }  # fmt: skip

    def score(self, video: Tensor, tracks):
        video = check_image(video, "video")
        tracks = as_tracks(tracks, "tracks")
        with naming("video, tracks"):
            result = score(video, tracks)
            return result.report(), draw_score(video, result), result.error, result.error_percent
