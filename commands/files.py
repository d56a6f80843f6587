"""Pictures and videos as files. Nothing here knows a model; every file appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

QUALITY = "15"  # libx264's crf: visually lossless


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to; it becomes `path` when all went well, and disappears when not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_image(path: Path) -> Tensor:
    """A picture file, upright -> [1, height, width, 3] float32 in 0..1. ValueError naming the file."""
    try:
        with Image.open(path) as picture:
            pixels = np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such picture.") from None
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path} is not a picture that can be read ({error}).") from error
    return torch.from_numpy(pixels)[None].float() / 255


def write_image(path: Path, image: Tensor) -> Path:
    """[height, width, 3] in 0..1 -> a .png or .jpg file."""
    with whole(path) as part:
        Image.fromarray(to_bytes(image)).save(part, quality=92)
    return path


def read_video(path: Path) -> tuple[Tensor, float]:
    """A video file -> [frames, height, width, 3] float32 in 0..1, and frames per second. ValueError naming the file."""
    import av

    if not path.is_file():
        raise ValueError(f"{path}: there is no such video.")
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            fps = float(stream.average_rate or 16)
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    except (av.error.FFmpegError, IndexError) as error:
        raise ValueError(f"{path} is not a video that can be read ({error}).") from error
    if not frames:
        raise ValueError(f"{path} holds no frames.")
    return torch.from_numpy(np.stack(frames)).float() / 255, fps


def write_video(path: Path, frames: Tensor, fps: float) -> Path:
    """[frames, height, width, 3] in 0..1 -> an mp4 (H.264, yuv420p) that every player opens.

    That format needs even sides: an odd picture gets its last row or column twice.
    """
    import av

    pixels = np.stack([to_bytes(frame) for frame in frames])
    height, width = pixels.shape[1:3]
    pixels = np.pad(pixels, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    with whole(path) as part, av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = pixels.shape[2], pixels.shape[1], "yuv420p"
        stream.options = {"crf": QUALITY}
        for picture in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def enlarge(frames: Tensor, longer: int) -> Tensor:
    """[frames, h, w, 3] enlarged by a whole number until the longer side has at least `longer` pixels, or shrunk."""
    height, width = frames.shape[1:3]
    scale = max(height, width) / longer
    if scale > 1:
        size, options = (round(height / scale), round(width / scale)), {"mode": "area"}
    else:
        times = -(-longer // max(height, width))
        size, options = (height * times, width * times), {"mode": "bicubic", "align_corners": False}
    planes = torch.nn.functional.interpolate(frames.permute(0, 3, 1, 2).float(), size=size, **options)
    return planes.permute(0, 2, 3, 1).clamp(0, 1)


def to_bytes(image: Tensor) -> np.ndarray:
    return (image.detach().float().clamp(0, 1) * 255).round().to("cpu", torch.uint8).numpy()
