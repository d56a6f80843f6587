"""Tracks in NumPy files: CoTracker's .npz, Wan-Move's *_tracks.npy + *_visibility.npy. Headers are checked before
memory is taken and nothing is unpickled. Knows arrays; which file is which is decided in formats.py."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

from .tracks import Tracks, TracksError

MAX_BYTES = 128 * 1024 * 1024  # of one array, and of everything in an archive
# Names in circulation: facebookresearch/co-tracker (pred_*), Wan-Move and TAP tools, ComfyUI's TRACKS.
PATH_KEYS = ("tracks", "pred_tracks", "track_path", "trajectories", "tracks_xy")
VISIBILITY_KEYS = ("visibility", "pred_visibility", "track_visibility", "visibilities", "visible", "visibles")


def npy_array(stream, name: str) -> np.ndarray:
    """The array of an open .npy, read only after its header says that it is numbers and of a sane size."""
    try:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(stream)
    except (ValueError, EOFError, OSError, SyntaxError, zipfile.BadZipFile, zlib.error) as error:
        raise TracksError(f"{name}: not a NumPy array ({error}).") from None
    if dtype.hasobject or dtype.kind not in "biuf":
        raise TracksError(f"{name}: refused, an array of {dtype} instead of numbers.")
    count = 1
    for side in shape:
        count *= side
    if count * dtype.itemsize > MAX_BYTES:
        raise TracksError(f"{name}: an array {list(shape)} of {count * dtype.itemsize:,} bytes; at most {MAX_BYTES:,}.")
    try:
        data = stream.read(count * dtype.itemsize)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise TracksError(f"{name}: damaged ({error}).") from None
    if len(data) != count * dtype.itemsize:
        raise TracksError(f"{name}: truncated: {len(data):,} of {count * dtype.itemsize:,} bytes.")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def npz_arrays(data: bytes, name: str) -> dict[str, np.ndarray]:
    """All arrays of an .npz, by key."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise TracksError(f"{name}: not an .npz archive ({error}).") from None
    with archive:
        entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
        if sum(entry.file_size for entry in entries) > MAX_BYTES:
            raise TracksError(f"{name}: unpacks to more than {MAX_BYTES:,} bytes.")
        arrays = {}
        for entry in entries:
            try:
                with archive.open(entry) as stream:
                    arrays[entry.filename[:-4]] = npy_array(stream, f"{name}, array '{entry.filename[:-4]}'")
            except (RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
                raise TracksError(f"{name}: damaged or encrypted ({error}).") from None
    return arrays


def arrays_to_tracks(arrays: Mapping[str, np.ndarray], name: str, canvas: tuple[int, int] | None = None) -> Tracks:
    """Tracks of named arrays: a path [frames, tracks, 2] or [1, frames, tracks, 2] in pixels, a visibility [frames,
    tracks], [1, frames, tracks] or [.., 1] (absent: all visible), optional `canvas` [2] and `fps`."""
    key = next((key for key in PATH_KEYS if key in arrays), None)
    if key is None:
        raise TracksError(f"{name}: no tracks in it: one of {list(PATH_KEYS)} is needed, found {sorted(arrays)}.")
    path = arrays[key]
    if path.ndim == 4 and len(path) == 1:
        path = path[0]
    if path.ndim != 3 or path.shape[-1] != 2:
        raise TracksError(f"{name}: '{key}' is {list(path.shape)}; [frames, tracks, 2] in pixels is needed.")
    visibility_key = next((key for key in VISIBILITY_KEYS if key in arrays), None)
    visibility = np.ones(path.shape[:2], bool) if visibility_key is None else arrays[visibility_key]
    if visibility.shape[-1:] == (1,) and visibility.ndim > 2:
        visibility = visibility[..., 0]
    if visibility.ndim == 3 and len(visibility) == 1:
        visibility = visibility[0]
    try:
        if "canvas" in arrays:
            canvas = tuple(arrays["canvas"].reshape(-1).tolist())
        fps = float(arrays["fps"].reshape(())) if "fps" in arrays else None
        return Tracks(path.astype(np.float32), visibility > 0.5, canvas, fps)
    except (TracksError, ValueError) as error:
        raise TracksError(f"{name}: {error}") from None


def encode_npz(tracks: Tracks) -> bytes:
    """`tracks` [frames, tracks, 2] float32, `visibility` [frames, tracks] bool, `canvas` and `fps` where known."""
    arrays = {"tracks": tracks.path.numpy(), "visibility": tracks.visibility.numpy()}
    if tracks.canvas:
        arrays["canvas"] = np.array(tracks.canvas)
    if tracks.fps:
        arrays["fps"] = np.array(tracks.fps)
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    return packed.getvalue()


def encode_npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
