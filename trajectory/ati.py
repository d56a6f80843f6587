"""ATI's own numbers: the track file (.pth), its time resampling, and the [frames, tracks, 4] tensor of the motion
patch. Knows the official format and its quirks; knows no model and no ComfyUI."""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .arrays import MAX_BYTES, npz_arrays
from .files import read_bytes
from .tracks import Tracks, TracksError, check_size

LENGTH = 121  # points of a track in a file: 5 s at 24 frames per second, and the frame at 0
FPS = 24.0
QUANT_MULTI = 8  # coordinates and visibility are multiplied by this in a file


def normalised(tracks: Tracks, width: int, height: int) -> Tensor:
    """What ATI's motion patch reads: [frames, tracks, 4] float32 = time -1..1, x and y relative to the centre of
    width x height with the short side spanning -1..1, visibility -1 or 1."""
    time = torch.linspace(-1, 1, tracks.frames)[:, None].expand(-1, tracks.count)
    x, y = centred(tracks.path, width, height).unbind(-1)
    return torch.stack([time, x, y, tracks.visibility.float() * 2 - 1], dim=-1)


def centred(path: Tensor, width: int, height: int) -> Tensor:
    return (path - torch.tensor([width, height]) / 2) / min(width, height) * 2


def official_tracks(array: np.ndarray | Tensor, size: tuple[int, int], quant_multi: int = QUANT_MULTI) -> Tensor:
    """bytedance/ATI wan/utils/motion.py:process_tracks: a file's array -> [81, tracks, 4] as `normalised`.

    array: quant_multi * (x, y, visible), [tracks, 121, 1, 3], or time first [121, h, w, 3]. size: (width, height).
    """
    return official_resampling(torch.as_tensor(np.asarray(array)).float() / quant_multi, size, 81)


def comfy_tracks(array: np.ndarray | Tensor, size: tuple[int, int], frames: int) -> Tensor:
    """ComfyUI comfy_extras/nodes_wan.py:process_tracks (with num_frames = frames - 1): an array of pixels (x, y,
    visible), [tracks, 121, 1, 3] or time first -> [frames, tracks, 4]. Where the reference returns one frame too few
    (frames - 1 a multiple of 120), the frame that it drops is kept."""
    return official_resampling(torch.as_tensor(np.asarray(array)).float(), size, frames)


def official_resampling(values: Tensor, size: tuple[int, int], frames: int) -> Tensor:
    if values.ndim != 4 or values.shape[-1] < 3 or LENGTH not in values.shape[:2]:
        raise TracksError(f"Not an array of ATI tracks: {list(values.shape)} instead of [tracks, {LENGTH}, 1, 3].")
    if frames < 1:
        raise TracksError(f"{frames} frames: at least one is needed.")
    if values.shape[1] == LENGTH:
        values = values.transpose(0, 1)
    values = values.flatten(1, 2)  # [121, tracks, 3]
    time = torch.linspace(-1, 1, LENGTH)[:, None, None].expand(-1, values.shape[1], 1)
    out = torch.cat([time, centred(values[..., :2], *size), values[..., 2:3] * 2 - 1], dim=-1)
    # Frame 0; then every `step`-th of frames 1..120 repeated `repeat` times, from the second on (81 frames: every 1.5).
    divisor = math.gcd(LENGTH - 1, frames - 1)
    step, repeat = (LENGTH - 1) // divisor, (frames - 1) // divisor
    later = torch.arange(frames - 1) * step + min(1, step - 1)
    return out[torch.cat([torch.zeros(1, dtype=torch.long), 1 + later // max(repeat, 1)])]


def decode_ati(data: bytes, name: str) -> np.ndarray:
    """The array in the bytes of an ATI track file: [tracks, 121, 1, 3] float32, 8 * (x, y, visible).

    The file is a torch.save of one `bytes` object, which is an .npz with the key 'array' (bytedance/ATI
    tools/trajectory_editor/app.py:array_to_npz_bytes). Nothing in it is executed; TracksError where it is anything
    else.
    """
    check_archive(data, name)
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise TracksError(
            f"{name}: refused, it holds Python objects other than the bytes of an ATI track file (perhaps code)."
        ) from None
    except Exception as error:  # torch.load raises whatever its readers do
        raise TracksError(f"{name}: not an ATI track file, or a damaged one ({first_line(error)}).") from None
    if not isinstance(content, bytes):
        raise TracksError(
            f"{name}: not an ATI track file: it holds {type(content).__name__}, not the bytes of an .npz "
            "(model weights belong in a model loader)."
        )
    arrays = npz_arrays(content, name)
    if "array" not in arrays:
        raise TracksError(f"{name}: the .npz inside has no 'array' but {sorted(arrays)}.")
    return checked_array(arrays["array"], name)


def checked_array(array: np.ndarray, name: str) -> np.ndarray:
    if array.ndim != 4 or array.shape[-1] < 3 or 0 in array.shape:
        raise TracksError(f"{name}: ATI tracks are [tracks, {LENGTH}, 1, 3], not {list(array.shape)}.")
    array = array[..., :3].astype(np.float32)
    if not np.isfinite(array).all():
        track, point = np.argwhere(~np.isfinite(array))[0][:2]
        raise TracksError(f"{name}: track {track}, point {point} is not finite.")
    return array


def array_to_tracks(array: np.ndarray, canvas: tuple[int, int] | None = None) -> Tracks:
    """Tracks of a file's array. Rows of zeros at the end of a track are the official editor's padding: invisible, and
    the last real position is held there."""
    values = torch.as_tensor(array).float() / QUANT_MULTI
    if values.shape[1] == LENGTH or (values.shape[0] != LENGTH and values.shape[2] == 1):
        values = values.transpose(0, 1)
    values = values.flatten(1, 2)  # [frames, tracks, 3]
    check_size(*values.shape[:2])
    real = (values != 0).any(-1)
    count = values.shape[0]
    last = torch.where(real, torch.arange(count)[:, None], 0).amax(0)  # the last real row of each track
    index = torch.minimum(torch.arange(count)[:, None], last[None])
    path = values[..., :2].gather(0, index[..., None].expand(-1, -1, 2))
    return Tracks(path, values[..., 2] > 0.5, canvas, FPS if count == LENGTH else None)


def encode_ati(tracks: Tracks) -> bytes:
    """An ATI track file: resampled to 121 points, times 8, float32 (positions off the canvas and parts of a pixel
    stay). The format has no canvas: ATI takes the positions to be pixels of the start image."""
    tracks = tracks.resample(LENGTH)
    values = torch.cat([tracks.path, tracks.visibility[..., None].float()], dim=-1)  # [121, tracks, 3]
    packed = io.BytesIO()
    np.savez_compressed(packed, array=(values.transpose(0, 1)[:, :, None] * QUANT_MULTI).numpy())
    file = io.BytesIO()
    torch.save(packed.getvalue(), file)
    return file.getvalue()


def read_ati_array(path: str | Path) -> np.ndarray:
    """`decode_ati` of a file: what `official_tracks` takes."""
    return decode_ati(read_bytes(path), str(path))


def check_archive(data: bytes, name: str) -> None:
    """Refuse a torch archive that grows beyond reason before anything in it is unpacked."""
    if data[:2] != b"PK":
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise TracksError(f"{name}: a damaged archive ({first_line(error)}).") from None
    if size > MAX_BYTES:
        raise TracksError(f"{name}: unpacks to {size:,} bytes; at most {MAX_BYTES:,} are read.")


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
