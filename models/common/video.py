"""What the video models and VAEs of all families have in common: sizes, devices, checks of what they are given.
Knows no family's inside."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from .attention import attention, choose, use_attention
from .checkpoint import KeyMap
from .compiled import compile_blocks
from .errors import ModelError
from .lora import Lora, applied
from .ops import multiplies_fp8, use_fp8_products
from .options import Options
from .placed import Placed
from .schedulers import FLOW
from .step_cache import StepCache
from .swap import CudaPlacement, Placement, Swap
from .tiling import decode_tiled
from .types import LatentFormat, Motion, TextConditioning
from .watch import watched

log = logging.getLogger(__name__)

Shapes = dict[str, tuple[int, ...]]


@dataclass
class VideoModel(Placed):
    """A transformer, ready to predict. `defaults`: what suits this file (size, steps, guidance …); dtype: of the
    computation; loras: what `running` adds to the weights; options: how it is held and run, see `settle`. A family adds
    `encode_motion`, `predict` and its own checks."""

    module: nn.Module
    config: object
    path: Path
    defaults: dict
    latent_format: LatentFormat
    dtype: torch.dtype = torch.float32
    device: torch.device = torch.device("cpu")
    loras: tuple[Lora, ...] = ()
    options: Options = Options()

    family: ClassVar[str]
    lora_keys: ClassVar[KeyMap] = ()  # from other names of its parameters in LoRA files
    text_encoder: ClassVar[str]  # what encodes its prompts, for errors
    schedulers: ClassVar[tuple[str, ...]] = tuple(FLOW)  # the solvers that fit what it predicts
    spatial: ClassVar[int] = 8  # pixels a latent pixel
    temporal: ClassVar[int] = 4  # frames a latent frame
    frame_step: ClassVar[int] = 4  # clips have a multiple of it and one frames
    patch: ClassVar[int] = 2  # latent pixels a token
    extras: ClassVar[frozenset[str]] = frozenset()  # arguments of `encode_motion` that not all families have
    start_images: ClassVar[int] = 1  # how many pictures a video may begin with
    blocks: ClassVar[str] = "transformer_blocks"  # what `module` calls the list of its blocks
    pads_text: ClassVar[bool] = False  # whether prompts may be made longer with zeros without a change
    first_steps: ClassVar[int] = 1  # steps that TeaCache never skips
    swap: ClassVar[Swap | None] = None
    attention: ClassVar[str] = "sdpa"  # the backend at work while it runs

    @property
    def latent_channels(self) -> int:
        raise NotImplementedError

    def to(self, device: torch.device | str):
        if self.swap is None:
            self.module.to(device)
        else:
            self.swap.rest_to(self.module, torch.device(device))
        self.device = torch.device(device)
        return self

    def settle(self, options: Options, placement: Placement | None = None):
        """Makes a model that was just loaded (with swapped blocks: into host memory) one that is held and run by
        `options`. placement: of swapped blocks; by default pinned host memory beside the model's GPU."""
        self.options = options
        if options.fp8_products:
            self.multiply_fp8()
        if options.compile:
            compile_blocks(getattr(self.module, self.blocks))
        groups, wanted = self.groups(), options.blocks_on_device
        if placement is None and wanted and self.device.type != "cuda":
            log.info("block swap: nothing to do, since %s is in host memory as a whole.", self.path.name)
        elif 0 < wanted < len(groups):
            self.swap = Swap(groups, wanted, options.prefetch, placement or CudaPlacement(self.device))
        return self.to(self.device) if wanted else self

    def multiply_fp8(self) -> None:
        if not multiplies_fp8(self.device):
            log.warning("fp8 products: %s has none; fp8 weights are widened on use.", self.device)
        elif not use_fp8_products(self.module):
            log.warning("fp8 products: %s holds no fp8 weights: set a storage of fp8_e4m3fn.", self.path.name)

    def groups(self) -> list[tuple[nn.Module, ...]]:
        """The modules that belong to each block, the block first."""
        return [(block,) for block in getattr(self.module, self.blocks)]

    def kept_at(self, width: int, height: int, frames: int, halves: int) -> list[dict | None]:
        """For each half of the guidance what `predict` may keep things in from step to step of a clip of that size;
        None where that costs more memory than it is worth."""
        return [None] * halves

    def example_inputs(self, width: int, height: int, frames: int) -> tuple[tuple[int, int], Shapes]:
        """([tokens, dim] of the longest prompt, the shapes of what `predict` is given beside it) of a clip."""
        raise NotImplementedError

    def with_lora(self, lora: Lora):
        """This model with the additions of a LoRA (see `read_lora`). The weights are shared; this model stays without."""
        other = copy(self)
        other.loras = (*self.loras, lora)
        return other

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside the block the module predicts with all that this model adds to it; afterwards it is as it was."""
        self.attention, attend = choose(self.options.attention, self.device, self.dtype)
        use_attention(self.module, attend)
        try:
            with applied(self.module, self.loras), nullcontext() if self.swap is None else self.swap.acting():
                yield
        finally:
            self.attention = "sdpa"
            use_attention(self.module, attention)

    def watched(self, look: Callable[[], None]) -> AbstractContextManager[None]:
        """look() before every transformer block; what it raises ends the prediction."""
        return watched(getattr(self.module, self.blocks), look)

    def size_for(self, width: int, height: int) -> tuple[int, int] | None:
        """The size of a video that suits a picture, where the family has a rule of its own."""

    def check_size(self, width: int, height: int, frames: int) -> None:
        """ModelError with the nearest size where the model cannot make this one."""
        step = self.spatial * self.patch
        fit = tuple(max(step, round(side / step) * step) for side in (width, height))
        if fit != (width, height):
            raise ModelError(
                f"{width}x{height} is no size for {self.path.name}: width and height must be multiples of {step}. "
                f"The nearest is {fit[0]}x{fit[1]}."
            )
        nearest = max(1, round((frames - 1) / self.frame_step) * self.frame_step + 1)
        if frames != nearest:
            raise ModelError(
                f"{frames} frames cannot be made by {self.path.name}: the count must be {self.frame_step}n + 1. "
                f"The nearest is {nearest}."
            )

    def latent_shape(self, width: int, height: int, frames: int) -> tuple[int, int, int, int]:
        """(channels, latent frames, latent height, latent width)"""
        self.check_size(width, height, frames)
        return (
            self.latent_channels, (frames - 1) // self.temporal + 1, height // self.spatial, width // self.spatial
        )  # fmt: skip

    def check_inputs(self, text: TextConditioning, motion: Motion) -> None:
        """ModelError where text or motion were made for another model."""
        if motion.family != self.family:
            raise ModelError(
                f"The motion was encoded for {motion.model} ({motion.family}), the model is {self.path.name} "
                f"({self.family}): connect the same model to both nodes."
            )

    def check_latents(self, vae: VideoVAE) -> None:
        """ModelError where a VAE of the right family makes other latents than this model was trained on: small models
        of our own have their own, and their own preview of them."""
        if vae.latent_format.rgb != self.latent_format.rgb:
            raise ModelError(
                f"{vae.path.name} makes other latents than {self.path.name} was trained on: an embedded model needs "
                "the embedded VAE, every other one the released VAE."
            )

    def check_text(self, text: TextConditioning, width: int, length: int | None) -> None:
        """ModelError unless prompts are [batch, at most `length` tokens, width]. length None: any."""
        for name, tokens in (("positive", text.positive), ("negative", text.negative)):
            if tokens is None:
                continue
            if tokens.ndim != 3 or tokens.shape[-1] != width:
                raise ModelError(
                    f"The {name} text is {list(tokens.shape)}; {self.path.name} reads [batch, tokens, {width}]: it was "
                    f"encoded by {text.encoder}, which belongs to another system. {self.text_encoder}"
                )
            if length is not None and tokens.shape[1] > length:
                raise ModelError(
                    f"The {name} text has {tokens.shape[1]} tokens of {text.encoder}, {self.path.name} takes {length}. "
                    f"{self.text_encoder}"
                )

    def step_cache(self, threshold: float, steps: int) -> StepCache:
        """TeaCache for one half of the guidance in a run of `steps`; ModelError where the model's figures are not
        known."""
        known = self.defaults.get("step_cache_coefficients") or self.step_cache_coefficients()
        if known is None:
            raise ModelError(
                f"TeaCache knows no figures of {self.path.name}: set the step cache to 0, or in Trajectory Speed "
                "Options to easycache, which needs none."
            )
        return StepCache(known, threshold, steps, self.first_steps)

    def step_cache_coefficients(self) -> Sequence[float] | None:
        """TeaCache's polynomial for this model, highest power first."""

    def check_share(self, start_percent: float, end_percent: float) -> None:
        """ModelError unless these are a part of the schedule."""
        if not 0 <= start_percent <= end_percent <= 1:
            raise ModelError(
                f"start_percent {start_percent} and end_percent {end_percent}: 0 <= start <= end <= 1 is needed."
            )


@dataclass
class VideoVAE(Placed):
    """A VAE between pixels in -1..1 and normalised latents. `module.encode` gives plain latents, `module.decode` takes
    them, for any clip of 4n + 1 frames."""

    module: nn.Module
    path: Path
    latent_format: LatentFormat
    dtype: torch.dtype = torch.float32
    device: torch.device = torch.device("cpu")

    family: ClassVar[str]
    usual: ClassVar[tuple[int, int, int]]  # width, height and frames of the clips that it is mostly used for
    keeps_tiles: ClassVar[bool] = False  # whether tiles that are done stay on the device

    @property
    def channels(self) -> int:
        return len(self.latent_format.mean)

    @property
    def spatial(self) -> int:
        return self.module.spatial

    @property
    def temporal(self) -> int:
        return self.module.temporal

    def watched(self, look: Callable[[], None]) -> AbstractContextManager[None]:
        """look() before every chunk of frames that is encoded or decoded; what it raises ends the work."""
        return watched((self.module.encoder, self.module.decoder), look)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """[batch, 3, 1 + 4n, height, width] in -1..1 -> normalised latents [batch, channels, 1 + n, h, w] float32."""
        return self.latent_format.from_plain(self.module.encode(pixels.to(self.device, self.dtype)).float())

    @torch.no_grad()
    def decode(self, latents: Tensor, tile: int | None = None) -> Tensor:
        """Normalised latents [batch, channels, 1 + n, h, w] -> pixels [batch, 3, 1 + 4n, 8h, 8w] in -1..1, float32.

        tile: side in pixels of the tiles the picture is decoded in, blended where they overlap; less memory, nearly the
        same picture.
        """
        if latents.ndim != 5 or latents.shape[1] != self.channels:
            raise ModelError(
                f"{self.path.name} decodes latents [batch, {self.channels}, frames, h, w]; these are "
                f"{list(latents.shape)}: "
                "they come from another system's model."
            )
        plain = self.latent_format.to_plain(latents.float()).to(self.device, self.dtype)
        return self.pixels(plain, tile).clamp_(-1, 1).float()

    def pixels(self, plain: Tensor, tile: int | None) -> Tensor:
        """What `decode` gives, of plain latents and not clamped."""
        if tile is None:
            return self.module.decode(plain)
        return decode_tiled(self.module.decode, plain, tile // self.spatial, self.spatial)
