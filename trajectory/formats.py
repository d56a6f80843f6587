"""Track files: which format a file is, and our own .json. The formats themselves are in ati.py, arrays.py, tora.py,
coordinates.py. A new format is one entry in `recognise` / READERS / WRITERS. Knows no canvas but what a file or the
caller says."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .arrays import arrays_to_tracks, encode_npy, encode_npz, npy_array, npz_arrays
from .ati import array_to_tracks, checked_array, decode_ati, encode_ati
from .coordinates import Reader, exact, join, load_json, parse_coordinates
from .files import read_bytes, write_files
from .tora import encode_tora, is_tora, parts_of, read_tora
from .tracks import Tracks, TracksError

FORMAT, VERSION = "trajectory-tracks", 1
Canvas = tuple[int, int] | None


def read_tracks(path: str | Path, *, frames: int | None = None, canvas: Canvas = None) -> Tracks:
    """The tracks in a file, told by its content: our .json, coordinates JSON, ATI .pth, Tora .txt, CoTracker .npz, .npy
    pairs.

    frames: resample to so many. canvas: (width, height) that the positions belong to where the file does not say (only
    our .json, .npz and Tora's .txt do). TracksError names the file and what is wrong with it.
    """
    path = Path(path)
    data = read_bytes(path)
    try:
        tracks = READERS[recognise(data, path)](data, path, canvas)
    except TracksError as error:
        raise error if str(path) in str(error) else TracksError(f"{path}: {error}") from None
    return tracks.resample(frames) if frames else tracks


def tracks_from_bytes(data: bytes, name: str, *, canvas: Canvas = None) -> Tracks:
    """The tracks in the content of a file called `name` that somebody sent: no file is opened, whatever the name
    says."""
    nowhere = Path(os.devnull) / Path(name.replace("\\", "/")).name  # nothing is below a device, so no partner either
    try:
        return READERS[recognise(data, nowhere)](data, nowhere, canvas)
    except TracksError as error:
        raise TracksError(str(error).replace(str(nowhere), nowhere.name)) from None


def write_tracks(path: str | Path, tracks: Tracks) -> Path:
    """Write a track file in the format of its ending (.json, .pth, .npz, .npy, .txt), whole or not at all. Folders are
    made.

    .json keeps everything exactly; .pth is resampled to ATI's 121 points and has no canvas; .txt is Tora's, whole
    numbers on 256 x 256, one file a track (x.txt, or x_1of3.txt and so on, of which the first is returned); .npy is the
    pair of Wan-Move, x_tracks.npy [1, frames, tracks, 2] and x_visibility.npy, of which the first is returned.
    """
    path = Path(path)
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise TracksError(f"{path}: tracks are written as {', '.join(WRITERS)}; give the file one of these endings.")
    contents = writer(tracks, path)
    write_files(contents)
    return next(iter(contents))


def recognise(data: bytes, path: Path) -> str:
    """The name of the format in READERS."""
    if data[:2] == b"PK":
        return "ati" if b"data.pkl" in data[:4096] or path.suffix.lower() in (".pth", ".pt") else "npz"
    if data[:6] == b"\x93NUMPY":
        return "npy"
    if path.suffix.lower() in (".pth", ".pt"):
        return "ati"
    if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"[", b"{"):
        return "json"
    if is_tora(data):
        return "tora"
    what = "empty" if not data.strip() else "not a format that is known"
    raise TracksError(f"{path}: {what}. Track files are .json, ATI .pth, Tora .txt, CoTracker .npz and .npy pairs.")


def read_json(data: bytes, path: Path, canvas: Canvas) -> Tracks:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise TracksError(f"{path}: not UTF-8 text.") from None
    if text.lstrip().startswith("{"):
        return from_document(load_json(text), canvas)
    return parse_coordinates(text, canvas=canvas)


def read_npz(data: bytes, path: Path, canvas: Canvas) -> Tracks:
    arrays = npz_arrays(data, str(path))
    if set(arrays) == {"array"}:  # an ATI file's inside on its own
        return array_to_tracks(checked_array(arrays["array"], str(path)), canvas)
    return arrays_to_tracks(arrays, str(path), canvas)


def read_npy(data: bytes, path: Path, canvas: Canvas) -> Tracks:
    arrays = {"tracks": npy_array(io.BytesIO(data), str(path))}
    if arrays["tracks"].shape[-1:] != (2,):
        raise TracksError(
            f"{path}: an array {list(arrays['tracks'].shape)} is not [frames, tracks, 2]; of a pair of .npy files, "
            "name the "
            "one with the tracks."
        )
    partner = visibility_path(path)
    if partner.exists():
        arrays["visibility"] = npy_array(io.BytesIO(read_bytes(partner)), str(partner))
    return arrays_to_tracks(arrays, str(path), canvas)


def read_ati(data: bytes, path: Path, canvas: Canvas) -> Tracks:
    return array_to_tracks(decode_ati(data, str(path)), canvas)


def read_txt(data: bytes, path: Path, canvas: Canvas) -> Tracks:
    """Tora's canvas is always its own. Content without a file has no partners."""
    return read_tora(parts_of(path) if path.is_file() else [path], {path: data})


def visibility_path(path: Path) -> Path:
    """x_tracks.npy -> x_visibility.npy (Wan-Move), pred_tracks.npy -> pred_visibility.npy, x.npy ->
    x_visibility.npy."""
    stem = path.stem
    if stem == "tracks" or stem.endswith("_tracks"):
        return path.with_name(stem[: -len("tracks")] + "visibility" + path.suffix)
    return path.with_name(f"{stem}_visibility{path.suffix}")


def to_document(tracks: Tracks) -> dict[str, Any]:
    """Our own JSON document; float32 positions read back exactly."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "canvas": list(tracks.canvas) if tracks.canvas else None,
        "fps": tracks.fps,
        "frames": tracks.frames,
        "tracks": [
            {"points": exact(tracks.path[:, i]), "visible": tracks.visibility[:, i].int().tolist()}
            for i in range(tracks.count)
        ],
    }


def from_document(document: Any, canvas: Canvas = None) -> Tracks:
    """Tracks of our own JSON document. `canvas` is taken where the document has none."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        keys = sorted(document)[:8] if isinstance(document, dict) else type(document).__name__
        raise TracksError(f'Not a track document: "format": "{FORMAT}" is missing; it has {keys}.')
    version = document.get("version")
    if version != VERSION:
        raise TracksError(f"The track document is of version {version!r}, this pack reads {VERSION}: update the pack.")
    entries = document.get("tracks")
    if not isinstance(entries, list) or not entries:
        raise TracksError("The track document has no tracks.")
    lists = []
    for index, entry in enumerate(entries):
        points = entry.get("points") if isinstance(entry, dict) else None
        visible = entry.get("visible") if isinstance(entry, dict) else None
        if not isinstance(points, list) or not points:
            raise TracksError(f"Track {index} (counted from 0): 'points' is missing or empty.")
        if visible is not None and (not isinstance(visible, list) or len(visible) != len(points)):
            raise TracksError(
                f"Track {index} (counted from 0): 'visible' needs one value for each of {len(points)} points."
            )
        lists.append([[*point, seen] if isinstance(point, list) else point
                      for point, seen in zip(points, visible or [True] * len(points))])  # fmt: skip
    frames = document.get("frames")
    if frames is not None and (type(frames) is not int or frames < 1):
        raise TracksError(f"'frames' is {frames!r}; a number of frames is needed.")
    reader = Reader()
    tracks = join([reader.points_of(points) for points in lists], frames)
    return Tracks(tracks.path, tracks.visibility, document.get("canvas") or canvas, document.get("fps"))


READERS: dict[str, Callable[[bytes, Path, Canvas], Tracks]] = {
    "json": read_json, "ati": read_ati, "tora": read_txt, "npz": read_npz, "npy": read_npy,
}  # fmt: skip


def write_npy(tracks: Tracks, path: Path) -> dict[Path, bytes]:
    return {
        path: encode_npy(tracks.path[None].numpy()),
        visibility_path(path): encode_npy(tracks.visibility[None].numpy()),
    }


WRITERS: dict[str, Callable[[Tracks, Path], dict[Path, bytes]]] = {
    ".json": lambda tracks, path: {path: json.dumps(to_document(tracks)).encode()},
    ".pth": lambda tracks, path: {path: encode_ati(tracks)},
    ".npz": lambda tracks, path: {path: encode_npz(tracks)},
    ".npy": write_npy,
    ".txt": encode_tora,
}
