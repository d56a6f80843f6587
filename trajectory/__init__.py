"""Tracks as data: the Tracks type, its files and texts, camera moves, drawing, optical tracking and the score.
Needs torch and NumPy; OpenCV is imported when drawing or tracking starts. Knows no model and no ComfyUI."""

from .coordinates import parse_coordinates, to_coordinates
from .formats import read_tracks, write_tracks
from .tracks import Tracks, TracksError

__all__ = ["Tracks", "TracksError", "parse_coordinates", "read_tracks", "to_coordinates", "write_tracks"]
