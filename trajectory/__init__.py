"""Tracks as data: the Tracks type, its files and texts, camera moves, drawing, optical tracking and the score.
Needs torch and NumPy; OpenCV is imported when drawing or tracking starts. Knows no model and no ComfyUI.

What a file is named after is imported from it (`trajectory.camera.camera`, `trajectory.follow.follow`,
`trajectory.score.score`), so that the file's name stays the file's."""

from .camera import grid
from .coordinates import parse_coordinates, to_coordinates
from .draw import contact_sheet, draw_paths, draw_tracks
from .formats import read_tracks, write_tracks
from .score import Score, draw_score
from .tracks import Tracks, TracksError

__all__ = [
    "Score", "Tracks", "TracksError", "contact_sheet", "draw_paths", "draw_score", "draw_tracks", "grid",
    "parse_coordinates", "read_tracks", "to_coordinates", "write_tracks",
]  # fmt: skip
