"""EasyAnimate V5.1 as the rest of the pack uses it: conditioning by variant, one prediction, latents to pixels and
back.

Everything that EasyAnimate does differently from the other families stands here; the maths is in the files beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ...trajectory import Tracks
from ...trajectory.poses import CameraPoses
from ..common.checkpoint import KeyMap
from ..common.errors import ModelError
from ..common.pictures import fit_tracks, seen
from ..common.step_cache import StepCache
from ..common.types import LatentFormat, Motion, TextConditioning
from ..common.video import Shapes, VideoModel, VideoVAE
from .camera import picture_of_rays, pluecker_video
from .conditioning import camera_channels, inpaint_channels, reference_channels, video_of_images
from .control import brightest, heat_video
from .detect import DIFFUSERS, VARIANTS
from .frames import enough, nearest, redrawn
from .latent import MAGVIT
from .sizes import bucket_size

# What the official samplers use: comfyui/comfyui_nodes.py; fps of predict_*.py. The shift is exp(mu) with mu = 1.
DEFAULTS = {
    "width": 672, "height": 384, "frames": 49, "fps": 8.0, "steps": 50, "cfg": 6.0, "shift": math.e,
    "scheduler": "flow_euler", "base_resolution": 512,
}  # fmt: skip
# Coefficients of TeaCache by (num_layers, mmdit_layers), 7B and 12B: transformer3d.py:get_teacache_coefficients.
STEP_CACHE = {
    (36, 18): (1.07862322, -4.19362456, 3.06725828, 0.33161686, 0.02374758),
    (48, 48): (-10.47857366, 8.33844143, -0.78477557, 0.68798618, 0.0136149),
}
METHODS = ("auto", "none")
MOST_START_IMAGES = 10_000  # more than a clip has frames, which is then told
MOST_TRACKS = 10_000  # spots a frame; more take very long and say nothing more
NEEDS = {
    "tracks": ("control", "Tracks need the Control model"),
    "control_video": ("control", "A control video needs the Control model"),
    "camera": ("camera", "Camera poses need the Control-Camera model"),
    "end_image": ("inp", "An end image needs the InP model"),
    "mask": ("inp", "A mask needs the InP model"),
}


@dataclass
class EasyAnimateModel(VideoModel):
    """An EasyAnimate V5.1 transformer, ready to predict. `variant`: t2v, inp, control or camera."""

    defaults: dict = field(default_factory=lambda: dict(DEFAULTS))
    latent_format: LatentFormat = MAGVIT

    family: ClassVar[str] = "easyanimate"
    lora_keys: ClassVar[KeyMap] = DIFFUSERS
    text_encoder: ClassVar[str] = "EasyAnimate V5.1 needs Qwen2-VL-7B, the text_encoder of its release."
    extras: ClassVar[frozenset[str]] = frozenset(
        {"end_image", "control_video", "camera", "video", "mask", "noise_seed"}
    )
    schedulers: ClassVar[tuple[str, ...]] = ("flow_euler", "flow_euler_static")

    @property
    def variant(self) -> str:
        return VARIANTS[self.config.in_channels - self.config.out_channels]

    @property
    def latent_channels(self) -> int:
        return self.config.out_channels

    @property
    def start_images(self) -> int:
        return MOST_START_IMAGES if self.variant == "inp" else 1

    def size_for(self, width: int, height: int) -> tuple[int, int]:
        if "sizes" in self.defaults:
            return super().size_for(width, height)
        return bucket_size(width, height, self.defaults["base_resolution"])

    def check_inputs(self, text: TextConditioning, motion: Motion) -> None:
        """ModelError where text or motion were made for another model."""
        super().check_inputs(text, motion)
        self.check_text(text, self.config.text_embed_dim, self.config.text_len)
        given = motion.inputs.get("y")
        if (0 if given is None else given.shape[1]) != self.config.in_channels - self.config.out_channels:
            raise ModelError(
                f"The motion was encoded for {motion.model}, another variant of EasyAnimate than {self.path.name} "
                f"({self.variant}): connect the same model to both nodes."
            )

    def example_inputs(self, width: int, height: int, frames: int) -> tuple[tuple[int, int], Shapes]:
        shape, extra = self.latent_shape(width, height, frames), self.config.in_channels - self.config.out_channels
        return (self.config.text_len, self.config.text_embed_dim), {"y": (1, extra, *shape[1:])} if extra else {}

    def step_cache_coefficients(self) -> tuple[float, ...] | None:
        return STEP_CACHE.get((self.config.num_layers, self.config.mmdit_layers))

    def check_needs(self, given: Mapping[str, object]) -> None:
        """ModelError where something is given that this variant has no channels for."""
        for name, (variant, sentence) in NEEDS.items():
            if given.get(name) is not None and variant != self.variant:
                raise ModelError(
                    f"{sentence} of EasyAnimate V5.1; {self.path.name} is the {self.variant} one. "
                    f"Load that, or disconnect {name}."
                )

    @torch.no_grad()
    def encode_motion(
        self,
        tracks: Tracks | None,
        *,
        vae: EasyAnimateVideoVAE | None = None,
        image: Tensor | None = None,
        width: int,
        height: int,
        frames: int,
        fit: str = "crop",
        strength: float = 1.0,
        start_percent: float = 0.0,
        end_percent: float = 1.0,
        method: str = "auto",
        end_image: Tensor | None = None,
        control_video: Tensor | None = None,
        camera: CameraPoses | None = None,
        video: Tensor | None = None,
        mask: Tensor | None = None,
        noise_seed: int = 0,
        reference_noise: Tensor | None = None,
    ) -> Motion:
        """The channels that the variant is conditioned on, and the latents of a video to refine.

        image: [n, height, width, 3] in 0..1: of InP the first n frames of the video, of Control and Control-Camera the
        reference (its first picture). end_image: [1, ...], the last frame. control_video, video: [frames or more, ...].
        camera: poses, resampled to the clip. mask: [1 or frames, h, w], 1 where `video` is made anew. fit, strength,
        start_percent, end_percent: as for the other families. method: 'none' leaves the tracks out. noise_seed: of the
        little noise on what InP is shown, drawn after that of the latents; reference_noise: used instead.
        ModelError where something is missing, too much or does not fit.
        """
        self.check_size(width, height, frames)
        self.check_share(start_percent, end_percent)
        if method not in METHODS:
            raise ModelError(f"method is '{method}': EasyAnimate knows {' and '.join(METHODS)}.")
        tracks = None if method == "none" else tracks
        self.check_needs({"tracks": tracks, "control_video": control_video, "camera": camera, "end_image": end_image,
                          "mask": mask})  # fmt: skip
        needs_vae = image is not None or video is not None or self.variant in ("inp", "control")
        if needs_vae and vae is None:
            raise ModelError(f"{self.path.name} needs the VAE to encode what it is shown.")
        if vae is not None and vae.family != self.family:
            raise ModelError(f"{vae.path.name} is not a VAE for {self.path.name}: EasyAnimate V5.1's is needed.")
        if vae is not None:
            self.check_latents(vae)

        size = {"width": width, "height": height, "fit": fit}
        latents = pixels = None
        if video is not None:
            pixels = nearest(enough(video, frames, "The video"), **size, what="The video")
            latents = vae.encode(pixels)
        shape = self.latent_shape(width, height, frames)
        y = plain = shown = None
        if self.variant == "t2v":
            if image is not None:
                raise ModelError(
                    f"A start image needs the InP model of EasyAnimate V5.1; {self.path.name} is the t2v one."
                )
        elif self.variant == "inp":
            noise = reference_noise
            if noise is None:
                noise = self.noise_of_reference(noise_seed, width, height, frames)
            y, shown = self.inpaint(vae, image, end_image, pixels, mask, frames, noise, size)
            plain = y
        else:
            if self.variant == "control":
                control, shown = self.control(vae, tracks, image, control_video, shape, frames, size)
            else:
                control, shown = self.camera(camera, shape, frames, width, height)
            picture = None if image is None else nearest(image[:1], **size, what="The start image")
            reference = reference_channels(vae, picture, shape)
            y, plain = (torch.cat([share * control, reference], dim=1) for share in (strength, 0.0))
        inputs, outside = ({} if channels is None else {"y": channels.cpu()} for channels in (y, plain))
        return Motion(
            self.family,
            width,
            height,
            frames,
            inputs,
            outside,
            start_percent,
            end_percent,
            shown=shown,
            latents=latents,
        )

    def noise_of_reference(self, seed: int, width: int, height: int, frames: int) -> Tensor:
        """[1, 3, frames, height, width]: the second draw of the generator whose first is the noise of the latents."""
        generator = torch.Generator("cpu").manual_seed(seed)
        torch.randn((1, *self.latent_shape(width, height, frames)), generator=generator)
        return torch.randn((1, 3, frames, height, width), generator=generator)

    def inpaint(self, vae, image, end_image, pixels, mask, frames, noise, size) -> tuple[Tensor, Tensor]:
        """InP's channels, and the frames that it is shown."""
        if pixels is not None and (image is not None or end_image is not None):
            raise ModelError("A video and a start or end image are both given: InP continues one of them. Connect one.")
        if mask is not None and pixels is None:
            raise ModelError("A mask says what of a video is made anew: connect the video too.")
        if pixels is None:
            made, anew = video_of_images(image, end_image, size["width"], size["height"], frames, size["fit"])
            pixels = made * 2 - 1
        elif mask is None:
            anew = torch.ones_like(pixels[:, :1])
        else:
            anew = redrawn(mask, **size, frames=frames)
        kept = torch.where(anew < 0.5, pixels, torch.zeros_like(pixels))  # grey where the model is free
        return inpaint_channels(vae, pixels, anew, noise), frames_of(kept)

    def control(self, vae, tracks, image, control_video, shape, frames, size) -> tuple[Tensor, Tensor]:
        """The control channels of tracks, a control video or both, and that video."""
        width, height, fit = size["width"], size["height"], size["fit"]
        videos = []
        if control_video is not None:
            pixels = nearest(enough(control_video, frames, "The control video"), **size, what="The control video")
            videos.append(frames_of(pixels))
        if tracks is not None:
            if tracks.count > MOST_TRACKS:
                raise ModelError(
                    f"There are {tracks.count} tracks; {MOST_TRACKS} are the most that can act. Use fewer."
                )
            picture_width, picture_height = (width, height) if image is None else (image.shape[-2], image.shape[-3])
            box = seen(picture_width, picture_height, width, height, fit)
            on_frame = fit_tracks(tracks, picture_width, picture_height, width, height, box).resample(frames)
            videos.append((heat_video(on_frame, width, height) / 255)[..., None].expand(-1, -1, -1, 3))
        if not videos:
            return torch.zeros(1, *shape), torch.zeros(frames, height, width, 3)
        shown = videos[0] if len(videos) == 1 else brightest(*videos)
        return vae.encode(shown.movedim(-1, 0)[None] * 2 - 1).cpu(), shown

    def camera(self, poses, shape, frames, width, height) -> tuple[Tensor, Tensor]:
        """The camera's channels, and a picture of them."""
        if poses is None:
            raise ModelError(
                f"{self.path.name} is the Control-Camera model, which needs camera poses: connect Trajectory Camera "
                "Poses "
                "(its move may be Static)."
            )
        poses = poses.resample(frames)
        return camera_channels(poses, width, height, shape[1:]), picture_of_rays(pluecker_video(poses, width, height))

    def predict(
        self, x: Tensor, t: Tensor, text: Tensor, inputs: Mapping[str, Tensor], cache: StepCache | None = None
    ) -> Tensor:
        """Flow (noise minus video) of the noisy latents `x` [batch, channels, frames, h, w] at timesteps `t`
        [batch]."""
        cast = {name: value.to(self.device, self.dtype) for name, value in inputs.items()}
        return self.module(x.to(self.dtype), t, text.to(self.dtype), **cast, cache=cache)


@dataclass
class EasyAnimateVideoVAE(VideoVAE):
    """The VAE of EasyAnimate V5.1 between pixels in -1..1 and normalised latents."""

    latent_format: LatentFormat = MAGVIT

    family: ClassVar[str] = "easyanimate"
    usual: ClassVar[tuple[int, int, int]] = (672, 384, 49)


def frames_of(pixels: Tensor) -> Tensor:
    """[1, 3, frames, height, width] in -1..1 -> IMAGE [frames, height, width, 3] in 0..1."""
    return (pixels[0].movedim(0, -1) / 2 + 0.5).clamp(0, 1)
