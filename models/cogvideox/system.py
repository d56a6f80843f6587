"""CogVideoX and Tora as the rest of the pack uses them: sizes, conditioning, one prediction, latents to pixels and
back.

Everything that they do differently from the other families stands here; the maths is in the files beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...trajectory import Tracks
from ...trajectory.flow import flow_video
from ..common.errors import ModelError
from ..common.pictures import cover, fit_tracks, seen, to_pixels
from ..common.sampling import make_noise
from ..common.schedulers import DIFFUSION
from ..common.step_cache import StepCache
from ..common.types import LatentFormat, Motion, TextConditioning
from ..common.video import Shapes, VideoModel, VideoVAE
from .latents import drawn, image_conditioning, latent_format
from .tiles import Tiling

log = logging.getLogger(__name__)

# What the official scripts use: alibaba/Tora diffusers-version/inference.py. The shift is snr_shift_scale.
DEFAULTS = {"fps": 8.0, "steps": 50, "cfg": 6.0, "shift": 1.0, "scheduler": "dpm_sde"}
# Coefficients of TeaCache by (dim, patch_size_t, variant), of CogVideoX 5B and 1.5 5B: ali-vilab/TeaCache
# TeaCache4CogVideoX1.5/teacache_sample_video.py. Tora is trained on 5B, whose figures it takes.
STEP_CACHE = {
    (3072, 1, "t2v"): (-1.53880483e03, 8.43202495e02, -1.34363087e02, 7.97131516e00, -5.23162339e-02),
    (3072, 1, "i2v"): (-1.53880483e03, 8.43202495e02, -1.34363087e02, 7.97131516e00, -5.23162339e-02),
    (3072, 2, "t2v"): (2.50210439e02, -1.65061612e02, 3.57804877e01, -7.81551492e-01, 3.58559703e-02),
    (3072, 2, "i2v"): (1.22842302e02, -1.04088754e02, 2.62981677e01, -3.06009921e-01, 3.71213220e-02),
}
METHODS = ("auto", "tora", "none")
PADDED = (
    "Use Trajectory Text Encode; or Load CLIP of type cogvideox; or, where ComfyUI has no such type, Load CLIP of "
    "type sd3 and then T5TokenizerOptions with min_length {length}."
)
MOST_TRACKS = 10_000  # more points than latent positions say nothing more, and take very long
DRAW = 0  # seed of the VAE's draws, which are conditioning: the same tracks give the same motion


@dataclass
class CogVideoXModel(VideoModel):
    """A CogVideoX transformer with or without Tora's parts, ready to predict."""

    defaults: dict = field(default_factory=lambda: dict(DEFAULTS))
    latent_format: LatentFormat = field(default_factory=lambda: latent_format({}))

    family: ClassVar[str] = "cogvideox"
    text_encoder: ClassVar[str] = "CogVideoX and Tora need T5 v1.1 xxl (t5xxl_fp16.safetensors)."
    schedulers: ClassVar[tuple[str, ...]] = tuple(DIFFUSION)
    extras: ClassVar[frozenset[str]] = frozenset({"control_video", "tile"})
    # Frames are a multiple of it and 1: the VAE decodes latent frames in pairs after the first.
    frame_step: ClassVar[int] = 8

    @property
    def variant(self) -> str:
        return self.config.variant

    @property
    def latent_channels(self) -> int:
        return self.config.out_channels

    def check_size(self, width: int, height: int, frames: int) -> None:
        super().check_size(width, height, frames)
        only = self.config.sample_width * self.spatial, self.config.sample_height * self.spatial
        if self.config.use_learned_positional_embeddings and (width, height) != only:
            raise ModelError(
                f"{width}x{height} is no size for {self.path.name}: its positions were learned for {only[0]}x{only[1]} "
                f"alone. "
                "Use that size."
            )

    def latent_shape(self, width: int, height: int, frames: int) -> tuple[int, int, int, int]:
        """(channels, latent frames, latent height, latent width). CogVideoX 1.5 makes a few frames more than are
        kept."""
        count = (frames - 1) // self.temporal + 1
        padded = count + -count % self.config.patch_size_t
        return self.latent_channels, padded, height // self.spatial, width // self.spatial

    def check_inputs(self, text: TextConditioning, motion: Motion) -> None:
        """ModelError where text or motion were made for another model."""
        super().check_inputs(text, motion)
        self.check_text(text, self.config.text_embed_dim, None)
        self.check_padding(text)
        if ("image" in motion.plain) != (self.variant == "i2v"):
            raise ModelError(
                f"The motion was encoded for {motion.model}, another variant of CogVideoX than {self.path.name} "
                f"({self.variant}): connect the same model to both nodes."
            )
        if "flow" in motion.inputs and not self.config.traj_extractor_channels:
            raise ModelError(
                f"The motion of {motion.model} follows tracks, but {self.path.name} has no Tora parts: connect the "
                "same model to both nodes."
            )

    def check_padding(self, text: TextConditioning) -> None:
        """ModelError unless every prompt fills all rows and was encoded together with its padding, as in training:
        alibaba/Tora diffusers-version/tora/t2v_pipeline.py:ToraPipeline._get_t5_prompt_embeds. What encoders of other
        video models do, shorter prompts or a mask, gives other numbers in every row, which nothing here can mend."""
        length = self.config.max_text_seq_length
        for name, tokens in (("positive", text.positive), ("negative", text.negative)):
            if tokens is None or (tokens.shape[1] == length and not text.masked):
                continue
            fault = "was encoded with its padding masked" if text.masked else f"has {tokens.shape[1]} tokens"
            raise ModelError(
                f"The {name} text {fault} by {text.encoder}; {self.path.name} was trained on prompts that are padded "
                f"to {length} tokens without a mask. {PADDED.format(length=length)}"
                f"{' ComfyUI cuts no prompt: a long one must be shortened.' if tokens.shape[1] > length else ''}"
            )

    def resolve_method(self, method: str, driven: bool) -> str:
        """'tora' or 'none'. driven: whether tracks or a control video are given."""
        if method not in METHODS:
            raise ModelError(f"method is '{method}': for {self.path.name} it must be one of {', '.join(METHODS)}.")
        if method == "auto":
            method = "tora" if driven else "none"
        if method == "tora" and not driven:
            raise ModelError("method is 'tora', but there are no tracks: connect tracks, or set method to 'none'.")
        if method == "tora" and not self.config.traj_extractor_channels:
            raise ModelError(
                f"{self.path.name} is plain CogVideoX and cannot follow tracks: load Tora's weights, or give Tora's "
                "parts (fuser and traj_extractor) to the model loader, or set method to 'none'."
            )
        return method

    @torch.no_grad()
    def encode_motion(
        self,
        tracks: Tracks | None,
        *,
        vae: CogVideoXVideoVAE | None = None,
        image: Tensor | None = None,
        width: int,
        height: int,
        frames: int,
        fit: str = "crop",
        strength: float = 1.0,
        start_percent: float = 0.0,
        end_percent: float = 1.0,
        method: str = "auto",
        control_video: Tensor | None = None,
        tile: int | None = None,
    ) -> Motion:
        """The start image and the flow video of the tracks, as latents.

        image: [.., height, width, 3] in 0..1, the first is the start frame of an image-to-video model, fitted to width
        x height by `fit` ('crop' or 'stretch'); tracks drawn on it follow its crop. control_video: [frames, h, w, 3] in
        0..1, a flow video in place of tracks. strength: of the trajectory features; 0 is without them, 1 as trained.
        start_percent, end_percent: the part of the schedule in which they act. tile: side in pixels of the tiles in
        which pictures are encoded; less memory, nearly the same latents. ModelError where something is missing or does
        not fit.
        """
        self.check_size(width, height, frames)
        self.check_share(start_percent, end_percent)
        if tracks is not None and control_video is not None:
            raise ModelError(
                "Tracks and a control video are both given: Tora follows one of them. Disconnect the other."
            )
        method = self.resolve_method(method, tracks is not None or control_video is not None)
        if vae is None and (method == "tora" or self.variant == "i2v"):
            raise ModelError("The VAE is needed to encode the start image and the flow video.")
        if vae is not None and (vae.family != self.family or vae.channels != self.latent_channels):
            raise ModelError(f"{vae.path.name} is not a VAE for {self.path.name}: the VAE of CogVideoX is needed.")
        if vae is not None:
            self.check_latents(vae)

        count, rows, columns = self.latent_shape(width, height, frames)[1:]
        draws = {"image": (1, rows, columns), "flow": ((frames - 1) // self.temporal + 1, rows, columns)}
        draws = {name: next(make_noise((self.latent_channels, *shape), DRAW)) for name, shape in draws.items()}
        plain = {}
        if self.variant == "i2v":
            if image is None:
                raise ModelError(f"{self.path.name} is an image-to-video model: a start image is needed.")
            picture, _ = cover(to_pixels(image), width, height, fit)
            newer = self.config.patch_size_t > 1  # of such a VAE as a single file, only the model tells the version
            inverted = newer or vae.module.config.invert_scale_latents
            latents = vae.image_latents(picture, draws["image"], inverted, tile)
            plain["image"] = image_conditioning(latents, count, self.config.patch_size_t)
        elif image is not None:
            log.info(
                "%s is a text-to-video model: the start image gives the video its shape, and is not shown.",
                self.path.name,
            )
        if method == "none":
            return Motion(self.family, width, height, frames, plain, plain, start_percent, end_percent)

        if tracks is not None:
            pixels = self.flow_pixels(tracks, image, width, height, frames, fit, vae.device)
        else:
            pixels = fitted_flow(control_video, width, height, frames)
        flow = {"flow": vae.flow_latents(pixels, draws["flow"], tile), "strength": torch.tensor(float(strength))}
        shown = pixels[0].permute(1, 2, 3, 0) / 2 + 0.5  # [frames, height, width, 3]
        active = {**plain, **flow} if strength else plain
        return Motion(self.family, width, height, frames, active, plain, start_percent, end_percent, shown=shown)

    def flow_pixels(
        self, tracks: Tracks, image: Tensor | None, width: int, height: int, frames: int, fit: str, device: torch.device
    ) -> Tensor:
        """What Tora is shown of the tracks: [1, 3, frames, height, width] in -1..1."""
        if tracks.count > MOST_TRACKS:
            raise ModelError(f"There are {tracks.count} tracks; {MOST_TRACKS} are the most that can act. Use fewer.")
        if image is None:
            on_frame = tracks.resize(width, height, source=(width, height))
        else:
            picture_height, picture_width = image.shape[-3:-1]
            box = seen(picture_width, picture_height, width, height, fit)
            on_frame = fit_tracks(tracks, picture_width, picture_height, width, height, box)
        return flow_video(on_frame.resample(frames), width, height, device)

    def step_cache_coefficients(self) -> tuple[float, ...] | None:
        return STEP_CACHE.get((self.config.dim, self.config.patch_size_t, self.variant))

    def groups(self) -> list[tuple[nn.Module, ...]]:
        blocks = self.module.transformer_blocks
        return list(zip(blocks, self.module.fuser) if self.config.traj_extractor_channels else zip(blocks))

    def kept_at(self, width: int, height: int, frames: int, halves: int) -> list[dict | None]:
        return [{}] * halves  # one for both, since what is kept is of the flow and not of the prompt

    def example_inputs(self, width: int, height: int, frames: int) -> tuple[tuple[int, int], Shapes]:
        shape, extra = self.latent_shape(width, height, frames), self.config.in_channels - self.config.out_channels
        found = {"image": (1, extra, *shape[1:])} if extra else {}
        if self.config.traj_extractor_channels:
            found["flow"] = (1, *shape)
        return (self.config.max_text_seq_length, self.config.text_embed_dim), found

    def predict(
        self, x: Tensor, t: Tensor, text: Tensor, inputs: Mapping[str, Tensor], cache: StepCache | None = None,
        kept: dict | None = None,
    ) -> Tensor:  # fmt: skip
        """v of the noisy latents `x` [batch, channels, frames, h, w] at timesteps `t` [batch]. cache, kept: of a run,
        see CogVideoXTransformer."""
        cast = {name: value.to(self.device, self.dtype) for name, value in inputs.items()}
        return self.module(x.to(self.dtype), t, text.to(self.dtype), **cast, cache=cache, kept=kept)


def fitted_flow(video: Tensor, width: int, height: int, frames: int) -> Tensor:
    """A flow video [frames, h, w, 3] in 0..1 as pixels [1, 3, frames, height, width] in -1..1: its first `frames`
    frames, stretched to the size. ModelError where it is shorter than the clip."""
    if video.shape[0] < frames:
        raise ModelError(f"The control video has {video.shape[0]} frames, the clip {frames}: give at least as many.")
    pixels = video[:frames, ..., :3].movedim(-1, 1).float()  # [frames, 3, h, w]
    if pixels.shape[-2:] != (height, width):
        pixels = F.interpolate(pixels, size=(height, width), mode="bilinear", antialias=True)
    return pixels.clamp(0, 1).transpose(0, 1)[None] * 2 - 1


@dataclass
class CogVideoXVideoVAE(VideoVAE):
    """The VAE of CogVideoX between pixels in -1..1 and normalised latents. tile: side of the tiles in pixels."""

    latent_format: LatentFormat = field(default_factory=lambda: latent_format({}))

    family: ClassVar[str] = "cogvideox"
    usual: ClassVar[tuple[int, int, int]] = (720, 480, 49)
    keeps_tiles: ClassVar[bool] = True

    @torch.no_grad()
    def plain(self, pixels: Tensor, noise: Tensor, tile: int | None = None) -> Tensor:
        """Plain latents [batch, channels, frames, h, w] float32, drawn with `noise` of that shape."""
        return drawn(self.module.moments(pixels.to(self.device, self.dtype), Tiling.of_side(tile)).float(), noise)

    def flow_latents(self, pixels: Tensor, noise: Tensor, tile: int | None = None) -> Tensor:
        """Normalised latents of a flow video [1, 3, frames, height, width]."""
        return self.latent_format.from_plain(self.plain(pixels, noise, tile))

    def image_latents(
        self, pixels: Tensor, noise: Tensor, inverted: bool = False, tile: int | None = None
    ) -> Tensor:  # fmt: skip
        """Latents of a start image [1, 3, 1, height, width] as the model was trained with them. inverted: divided by
        the scaling factor instead of multiplied, as with CogVideoX 1.5 (invert_scale_latents)."""
        plain = self.plain(pixels, noise, tile)
        return self.latent_format.to_plain(plain) if inverted else self.latent_format.from_plain(plain)

    def pixels(self, plain: Tensor, tile: int | None) -> Tensor:
        return self.module.decode(plain, Tiling.of_side(tile))
