"""`generate`: a picture and tracks become a video, an overlay and a contact sheet, through the node classes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from ..models import EMBEDDED, Options, embedded
from ..nodes.decode import TrajectoryDecode
from ..nodes.encode import TrajectoryEncode, TrajectoryTextEncode
from ..nodes.host import host
from ..nodes.load import (
    NO_FILE,
    TrajectoryImageEncoderLoader,
    TrajectoryLora,
    TrajectoryModelLoader,
    TrajectoryTextEncoderLoader,
    TrajectoryVAELoader,
)
from ..nodes.sample import TrajectorySampler
from ..trajectory import Tracks
from ..trajectory.draw import contact_sheet, draw_tracks
from .files import enlarge, write_image, write_video

OVERLAY_SIDE = 384  # pixels: small videos are enlarged before tracks are drawn, so that the lines stay thin


@dataclass(frozen=True)
class ModelFiles:
    """Which files to use; `image_encoder` may be None where the model runs without one, `motion` where the model's own
    file has the parts that follow tracks. loras: files and how strongly they act. options: how the
    model is held and run."""

    model: str
    vae: str
    text_encoder: str
    image_encoder: str | None
    motion: str | None = None
    loras: tuple[tuple[str, float], ...] = ()
    options: Options = Options()

    @classmethod
    def embedded(cls, system: str = "ati") -> ModelFiles:
        return cls(**{"image_encoder": None, **{part: str(embedded(part, system)) for part in EMBEDDED[system]}})


class Pipeline:
    """The models of a run, each loaded when it is first needed, and what the command line lets be set of every video.

    keep: whether the encoders stay in memory for further videos; otherwise they leave it once they are used.
    """

    def __init__(self, files: ModelFiles, encode: dict, sampling: dict, tile: int = 0, keep: bool = True):
        """encode, sampling: inputs of TrajectoryEncode and TrajectorySampler beside the connected ones."""
        for kind, name, option in (
            ("diffusion_models", files.model, "--model"), ("vae", files.vae, "--vae"),
            ("text_encoders", files.text_encoder, "--text-encoder"),
            ("clip_vision", files.image_encoder, "--image-encoder"),
        ):  # fmt: skip
            if name is not None:
                host.model_path(kind, name, option)  # a misspelt one is told before the first is loaded
        self.files, self.encode, self.sampling, self.tile, self.keep = files, encode, sampling, tile, keep

    @cached_property
    def model(self):
        files = self.files
        (model,) = TrajectoryModelLoader().load(files.model, motion_name=files.motion or NO_FILE, options=files.options)
        for name, strength in files.loras:
            (model,) = TrajectoryLora().add(model, name, strength)
        return model

    @cached_property
    def vae(self):
        return TrajectoryVAELoader().load(self.files.vae)[0]

    @cached_property
    def text_encoder(self):
        return TrajectoryTextEncoderLoader().load(self.files.text_encoder)[0]

    @cached_property
    def image_encoder(self):
        return TrajectoryImageEncoderLoader().load(self.files.image_encoder)[0] if self.files.image_encoder else None

    def done_with(self, name: str) -> None:
        """Lets a model go that is not needed again."""
        if not self.keep:
            del self.__dict__[name]
            host.free()

    @property
    def fps(self) -> float:
        return self.model.defaults["fps"]

    def video(
        self, image: Tensor | None, tracks: Tracks | None, prompt: str, negative: str, seed: int
    ) -> tuple[Tensor, Tracks | None]:
        """The frames [frames, height, width, 3] in 0..1 that a start image [1, height, width, 3] (or none) and tracks
        drawn on it become, and these tracks in pixels of the video."""
        (text,) = TrajectoryTextEncode().encode(self.text_encoder, prompt, negative)
        self.done_with("text_encoder")
        motion, _, on_video = TrajectoryEncode().encode(
            self.model, self.vae, tracks=None if tracks is None else tracks.to_comfy(), start_image=image,
            image_encoder=self.image_encoder, **self.encode,
        )  # fmt: skip
        self.done_with("image_encoder")
        (latent,) = TrajectorySampler().sample(self.model, text, motion, seed=seed, **self.sampling)
        (frames,) = TrajectoryDecode().decode(self.vae, latent, self.tile)
        return frames, None if on_video is None else Tracks.from_comfy(on_video)


def overlay(frames: Tensor, tracks: Tracks) -> Tensor:
    """The video with its tracks drawn on it."""
    larger = enlarge(frames, OVERLAY_SIDE) if max(frames.shape[1:3]) < OVERLAY_SIDE else frames
    return draw_tracks(larger, tracks)


def save(folder: Path, frames: Tensor, drawn: Tensor | None, fps: float) -> list[Path]:
    """video.mp4, overlay.mp4 and contact_sheet.png in `folder`."""
    files = [write_video(folder / "video.mp4", frames, fps)]
    if drawn is not None:
        files.append(write_video(folder / "overlay.mp4", drawn, fps))
    shown = frames if drawn is None else drawn
    files.append(write_image(folder / "contact_sheet.png", contact_sheet(enlarge(shown, 256), columns=4)))
    return files


def show_bars(quiet: bool) -> None:
    """Progress bars on the terminal's error stream."""
    if quiet:
        host.make_bar = None
        return
    from tqdm import tqdm

    width = None if os.environ.get("COLUMNS") else 80
    host.make_bar = lambda label, total: tqdm(desc=label, total=total, unit="step", ncols=width)
