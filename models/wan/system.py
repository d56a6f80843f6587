"""Wan 2.1 and ATI as the rest of the pack uses them: sizes, conditioning, one prediction, latents to pixels and back.

Everything that Wan does differently from the other families stands here; the maths is in the files beside it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...trajectory import Tracks
from ...trajectory.ati import normalised
from ..common.checkpoint import KeyMap
from ..common.errors import ModelError
from ..common.pictures import cover, fit_tracks, to_pixels
from ..common.step_cache import StepCache
from ..common.types import LatentFormat, Motion, TextConditioning
from ..common.video import Shapes, VideoModel, VideoVAE
from .latent import WAN21
from .layouts import DIFFUSERS
from .motion_patch import motion_patch

log = logging.getLogger(__name__)

# What the official demo uses: bytedance/ATI generate.py (its shift of 3 for 480p is commented out there).
DEFAULTS = {
    "width": 832, "height": 480, "frames": 81, "fps": 16.0, "steps": 40, "cfg": 5.0, "shift": 5.0,
    "scheduler": "unipc", "temperature": 220.0, "topk": 2,
}  # fmt: skip
# Coefficients of TeaCache by (model_type, dim, picture): ali-vilab/TeaCache TeaCache4Wan2.1/teacache_generate.py with
# use_ret_steps, where the first five steps always run.
STEP_CACHE = {
    ("t2v", 1536, 480): (-5.21862437e04, 9.23041404e03, -5.28275948e02, 1.36987616e01, -4.99875664e-02),
    ("t2v", 5120, 480): (-3.03318725e05, 4.90537029e04, -2.65530556e03, 5.87365115e01, -3.15583525e-01),
    ("i2v", 5120, 480): (2.57151496e05, -3.54229917e04, 1.40286849e03, -1.35890334e01, 1.32517977e-01),
    ("i2v", 5120, 720): (8.10705460e03, 2.13393892e03, -3.72934672e02, 1.66203073e01, -4.17769401e-02),
}
# Up to so many video tokens the keys and values of the text are kept from step to step: above, they save less than one
# product in a hundred, and of the 14B model they are 1.3 GB.
KEEP_BELOW = 8192
IMAGE_TOKENS = 257  # of CLIP ViT-H
METHODS = ("auto", "ati", "none")
MOST_TRACKS = 10_000  # more points than latent positions say nothing more, and take very long


@dataclass
class WanVideoModel(VideoModel):
    """A Wan 2.1 transformer, ready to predict. motion_method: what the file itself says of how it was trained: "ati",
    "none" or nothing."""

    defaults: dict = field(default_factory=lambda: dict(DEFAULTS))
    latent_format: LatentFormat = WAN21
    motion_method: str | None = None

    family: ClassVar[str] = "wan"
    lora_keys: ClassVar[KeyMap] = DIFFUSERS
    extras: ClassVar[frozenset[str]] = frozenset({"image_tokens", "topk", "temperature"})
    blocks: ClassVar[str] = "blocks"
    pads_text: ClassVar[bool] = True
    first_steps: ClassVar[int] = 5
    text_encoder: ClassVar[str] = "Wan and ATI need umT5-xxl, the embedded model its own embedded text encoder."

    @property
    def variant(self) -> str:
        return self.config.model_type

    @property
    def latent_channels(self) -> int:
        return self.config.out_dim

    def check_inputs(self, text: TextConditioning, motion: Motion) -> None:
        """ModelError where text or motion were made for another model."""
        super().check_inputs(text, motion)
        self.check_text(text, self.config.text_dim, self.config.text_len)
        wanted, given = self.config.in_dim - self.config.out_dim, motion.inputs.get("y")
        if (0 if given is None else given.shape[1]) != wanted:
            raise ModelError(
                f"The motion was encoded for {motion.model}, another variant of Wan than {self.path.name} "
                f"({self.variant}): connect the same model to both nodes."
            )
        seen = motion.inputs.get("clip_fea")
        if seen is not None and seen.shape[-1] != self.config.clip_dim:
            raise ModelError(
                f"The motion was encoded for {motion.model} with image tokens {list(seen.shape)}; {self.path.name} "
                f"reads [1, tokens, {self.config.clip_dim}]: connect the same model to both nodes."
            )

    def resolve_method(self, method: str, tracks: Tracks | None) -> str:
        """'ati' or 'none'. 'auto' goes by what the file says of itself or by its name, and never guesses."""
        if method not in METHODS:
            raise ModelError(f"method is '{method}': it must be one of {', '.join(METHODS)}.")
        if method == "auto":
            method = self.motion_method or ("ati" if "ati" in words(self.path.stem) else None)
            if tracks is None:
                method = "none"
            elif method is None:
                raise ModelError(
                    f"Nothing in the name of {self.path.name} says that it is ATI, and its keys cannot tell. "
                    "Set method to 'ati' if it is, or to 'none' to run it without tracks."
                )
        if method == "ati" and tracks is None:
            raise ModelError("method is 'ati', but no tracks are connected: connect tracks, or set method to 'none'.")
        if method == "ati" and self.variant != "i2v":
            raise ModelError(
                f"{self.path.name} is a text-to-video model; ATI's tracks need the image-to-video model with ATI's "
                "weights."
            )
        return method

    @torch.no_grad()
    def encode_motion(
        self,
        tracks: Tracks | None,
        *,
        vae: WanVideoVAE | None = None,
        image: Tensor | None = None,
        width: int,
        height: int,
        frames: int,
        image_tokens: Tensor | None = None,
        fit: str = "crop",
        strength: float = 1.0,
        start_percent: float = 0.0,
        end_percent: float = 1.0,
        method: str = "auto",
        topk: int | None = None,
        temperature: float | None = None,
    ) -> Motion:
        """The image conditioning with the tracks patched into it.

        image: [.., height, width, 3] in 0..1, the first is the start frame; fitted to width x height by `fit`: 'crop'
        (scaled to cover, centred) or 'stretch' (as the official code). Tracks drawn on the picture follow its crop.
        image_tokens: [1, tokens, clip_dim] of the image encoder. strength: 0 is without tracks, 1 as trained.
        start_percent, end_percent: the part of the schedule in which the tracks act. ModelError where something is
        missing or does not fit.
        """
        self.check_size(width, height, frames)
        method = self.resolve_method(method, tracks)
        self.check_share(start_percent, end_percent)
        if self.variant == "t2v":
            return Motion(self.family, width, height, frames, {}, {}, start_percent, end_percent)
        if image is None:
            raise ModelError(f"{self.path.name} is an image-to-video model: a start image is needed.")
        if vae is None:
            raise ModelError("A start image needs the VAE to encode it.")
        if vae.family != self.family or vae.channels != self.config.out_dim:
            raise ModelError(f"{vae.path.name} is not a VAE for {self.path.name}: a Wan 2.1 VAE is needed.")
        self.check_latents(vae)
        self.check_image_tokens(image_tokens)

        picture, box = cover(to_pixels(image), width, height, fit)
        grey = picture.new_zeros(1, 3, frames - 1, height, width)
        latents = vae.encode(torch.cat([picture, grey], dim=2))[0]
        plain = plain_conditioning(latents)
        patched = plain
        if method == "ati":
            if tracks.count > MOST_TRACKS:
                raise ModelError(
                    f"There are {tracks.count} tracks; {MOST_TRACKS} are the most that can act. Use fewer."
                )
            on_frame = fit_tracks(tracks, image.shape[-2], image.shape[-3], width, height, box).resample(frames)
            patched = motion_patch(
                normalised(on_frame, width, height).to(latents.device), latents,
                temperature=temperature or self.defaults["temperature"], topk=topk or self.defaults["topk"],
            )  # fmt: skip
        active, plain = torch.lerp(plain, patched, strength).cpu(), plain.cpu()
        shared = {} if image_tokens is None else {"clip_fea": image_tokens}
        return Motion(
            self.family, width, height, frames, {"y": active[None], **shared}, {"y": plain[None], **shared},
            start_percent, end_percent, shown=picture_of_patch(picture.cpu(), active[0]),
        )  # fmt: skip

    def check_image_tokens(self, tokens: Tensor | None) -> None:
        if tokens is None:
            log.warning("No image encoder is connected: %s runs, but was trained with one.", self.path.name)
        elif tokens.ndim != 3 or tokens.shape[-1] != self.config.clip_dim:
            raise ModelError(
                f"The image tokens are {list(tokens.shape)}; {self.path.name} reads [1, tokens, "
                f"{self.config.clip_dim}]: "
                "use CLIP vision ViT-H for Wan and ATI, the embedded image encoder for the embedded model."
            )

    def step_cache_coefficients(self) -> tuple[float, ...] | None:
        """ATI is a 480p model; which of the two a plain one is, only its name tells."""
        picture = 720 if "720p" in words(self.path.stem) and self.variant == "i2v" else 480
        return STEP_CACHE.get((self.variant, self.config.dim, picture))

    def kept_at(self, width: int, height: int, frames: int, halves: int) -> list[dict | None]:
        tokens = math.prod(self.latent_shape(width, height, frames)[1:]) // self.patch**2
        keep = tokens <= KEEP_BELOW and not self.options.compile
        return [{} if keep else None for _ in range(halves)]

    def example_inputs(self, width: int, height: int, frames: int) -> tuple[tuple[int, int], Shapes]:
        shape, extra = self.latent_shape(width, height, frames), self.config.in_dim - self.config.out_dim
        images = {"y": (1, extra, *shape[1:]), "clip_fea": (1, IMAGE_TOKENS, self.config.clip_dim)} if extra else {}
        return (self.config.text_len, self.config.text_dim), images

    def predict(
        self, x: Tensor, t: Tensor, text: Tensor, inputs: Mapping[str, Tensor], cache: StepCache | None = None,
        kept: dict | None = None,
    ) -> Tensor:  # fmt: skip
        """Flow (noise minus video) of the noisy latents `x` [batch, channels, frames, h, w] at timesteps `t` [batch].
        cache, kept: of a run, see WanTransformer."""
        cast = {name: value.to(self.device, self.dtype) for name, value in inputs.items()}
        return self.module(x.to(self.dtype), t, text.to(self.dtype), **cast, cache=cache, kept=kept)


@dataclass
class WanVideoVAE(VideoVAE):
    """The Wan 2.1 VAE between pixels in -1..1 and normalised latents."""

    latent_format: LatentFormat = WAN21

    family: ClassVar[str] = "wan"
    usual: ClassVar[tuple[int, int, int]] = (832, 480, 81)


def plain_conditioning(latents: Tensor) -> Tensor:
    """[channels, frames, h, w] -> [4 + channels, frames, h, w]: the mask of image-to-video, 1 at the first frame."""
    mask = latents.new_zeros(4, *latents.shape[1:])
    mask[:, 0] = 1
    return torch.cat([mask, latents])


def picture_of_patch(picture: Tensor, mask: Tensor) -> Tensor:
    """Where the tracks carry the start image to: [latent frames, height, width, 3] in 0..1.

    picture: [1, 3, 1, height, width] in -1..1, shown dark; mask: [latent frames, h, w], shown as light.
    """
    dim = (picture[0, :, 0].permute(1, 2, 0) / 2 + 0.5).clamp(0, 1) * 0.5
    light = F.interpolate(mask[1:, None].float().clamp(0, 1), size=picture.shape[-2:], mode="bilinear")[:, 0, ..., None]
    later = dim + light * (light.new_tensor([1.0, 0.85, 0.2]) - dim)
    return torch.cat([(dim * 2)[None], later])


def words(name: str) -> set[str]:
    """The words of a file name, lower case: 'Wan2_1-I2V-ATI-14B_fp8' -> {'wan2', '1', 'i2v', 'ati', '14b', 'fp8'}."""
    return set("".join(c.lower() if c.isalnum() else " " for c in name).split())
