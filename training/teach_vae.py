"""Trains the small VAEs of the other systems: their encoders to give the latents of ATI's VAE, their decoders to read
them. So one pool of latents serves all transformers. Resumable; logs decibels.

Encoder and decoder are trained one after the other, on stills first, then on clips and stills in turn. On stills a
causal convolution sees one frame, again and again: it is run as a 2D convolution of the sum of its taps; to begin with
of its last one, and the others stay zero.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.cogvideox.config import CogVideoXVAEConfig
from ..models.cogvideox.latents import latent_format as cogvideox_format
from ..models.cogvideox.vae import CogVideoXVAE
from ..models.common.causal import Window, enlarged
from ..models.common.types import LatentFormat
from ..models.easyanimate.config import EasyAnimateVAEConfig
from ..models.easyanimate.latent import MAGVIT as MAGVIT_FORMAT
from ..models.easyanimate.vae import EasyAnimateVAE, EnlargingConv3d
from . import export, pictures, pool
from .optim import falling, optimizers, reached
from .precision import autocast_backward
from .processes import write
from .replay import Steps

log = logging.getLogger(__name__)

BATCH = {"cpu": (16, 1), "cuda": (64, 8)}  # of stills, of clips
STILL_POOL = 4000
MUON_LR, ADAM_LR, CLIP_SHARE = 0.01, 2e-3, 0.4  # the last: of both rates on clips
LOUD = 0.1  # deviation of the noise on the latents that the decoder learns from: those of a transformer are not clean
LOGVAR = -14.0  # of the encoders' latents: as good as none
SAVE = 60  # seconds


@dataclass(frozen=True)
class Kind:
    """name: of the state's file. build: the module. whole: the numbers do not depend on the chunks, and a clip in one
    piece takes half the time."""

    name: str
    family: str
    build: type
    config: object
    format: LatentFormat
    whole: bool = False

    def module(self, learned: dict[str, Tensor] | None = None) -> nn.Module:
        """learned: weights, if not those that it starts with."""
        torch.manual_seed(0)
        module = self.build(self.config)
        if learned is None:
            start_as_stills(module)
        else:
            module.load_state_dict(learned)
        return module

    def chunks(self, frames: int) -> tuple[int, ...]:
        return (frames,) if self.whole else ()


SMALL = {"block_out_channels": (16, 32, 64, 64), "layers_per_block": 1, "norm_num_groups": 8}
COGVIDEOX = Kind(
    "cogvideox_vae", "cogvideox", CogVideoXVAE, CogVideoXVAEConfig(**SMALL), cogvideox_format({})
)
MAGVIT = Kind("magvit", "easyanimate", EasyAnimateVAE, EasyAnimateVAEConfig(**SMALL), MAGVIT_FORMAT, whole=True)
KINDS = {"tora": COGVIDEOX, "easyanimate": MAGVIT}


def start_as_stills(module: nn.Module) -> None:
    """Convolutions start as identity in time, residual branches small, the latents' variance at next to nothing."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight[:, :, -1], nonlinearity="linear")
            layer.weight.data[:, :, :-1] = 0
            nn.init.zeros_(layer.bias)
        if ".conv2" in name and isinstance(layer, nn.Conv3d):
            layer.weight.data *= 0.3
        if "conv_y" in name and isinstance(layer, nn.Conv3d):  # the decoder's norms start as plain ones
            layer.weight.data *= 0.1
            layer.bias.data.fill_(1)
        if "conv_b" in name and isinstance(layer, nn.Conv3d):
            layer.weight.data *= 0.1
    for name in ("quant_conv", "post_quant_conv"):  # EasyAnimate's: they are not trained and change nothing
        if hasattr(module, name):
            nn.init.dirac_(getattr(module, name).weight)
    last = module.encoder.conv_out
    last = getattr(last, "conv", last)
    half = len(last.weight) // 2
    last.weight.data[half:] = 0
    last.bias.data[half:] = LOGVAR


class LastTap(nn.Conv3d):
    """What a 3D convolution makes of one frame while only its last tap acts."""

    def forward(self, x: Tensor | Window, stream=None, spare: bool = False) -> Tensor:
        return self.of_frame(x, self.weight[:, :, -1])

    def of_frame(self, x: Tensor | Window, weight: Tensor) -> Tensor:
        frame = x.frames[-1] if isinstance(x, Window) else x[:, :, -1]
        frame = enlarged(frame) if self.own_class is EnlargingConv3d else frame
        return F.conv2d(frame, weight, self.bias, self.stride[1:], self.padding[1:]).unsqueeze(2)


class AllTaps(LastTap):
    """What a 3D convolution makes of one frame that is repeated."""

    def forward(self, x: Tensor | Window, stream=None, spare: bool = False) -> Tensor:
        return self.of_frame(x, self.weight.sum(2))


def run_as(module: nn.Module, convolution: type | None) -> None:
    """None: as the 3D convolutions that they are."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv3d):
            layer.own_class = getattr(layer, "own_class", type(layer))
            layer.__class__ = convolution or layer.own_class


def encoder_loss(kind: Kind, module, pixels: Tensor, latents: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error of the normalised latents [batch, 16, f, h, w], and its share of their variance."""
    with autocast_backward(pixels.device):
        mean = kind.format.from_plain(module.encode(pixels, *kind.chunks(pixels.shape[2])).float())
    error = (mean - latents).pow(2).mean()
    return error, error / latents.var()


def decoder_loss(kind: Kind, module, pixels: Tensor, latents: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error of the pixels in -1..1, low frequencies of colour above all, and its share of the largest."""
    noise = LOUD * torch.rand(len(latents), 1, 1, 1, 1, device=latents.device) * torch.randn_like(latents)
    with autocast_backward(pixels.device):
        made = module.decode(kind.format.to_plain(latents + noise), *kind.chunks(latents.shape[2])).float()
    error = (made - pixels) ** 2
    coarse = F.avg_pool3d(made - pixels, (1, 8, 8))
    chroma = (coarse - coarse.mean(1, keepdim=True)).pow(2).mean() + 0.3 * coarse.pow(2).mean()
    return (error * weight).mean() + chroma, error.mean() / 4


LOSSES = {"encoder": encoder_loss, "decoder": decoder_loss}
STEPS = {  # on stills, on both
    "cpu": {"encoder": (300, 900), "decoder": (500, 1000)}, "cuda": {"encoder": (600, 6000), "decoder": (600, 6000)},
}  # fmt: skip


class Stills:
    """Batches of single pictures and their latents."""

    def __init__(self, teacher, folder: Path, processes: int):
        self.pictures, self.teacher = pictures.stills(folder, STILL_POOL, processes), teacher

    def draw(self, rng, count: int) -> tuple[Tensor, Tensor, Tensor]:
        chosen = pool.to_tensor(self.pictures[rng.integers(len(self.pictures), size=count)])
        pixels = flipped(chosen.to(self.teacher.device), rng)
        return pixels, pool.encoded(self.teacher, pixels), pixels.new_ones(1)


class Clips:
    """Batches of clips whose pictures the pool kept, all square, and their latents."""

    def __init__(self, files: list[Path], device: torch.device):
        shards = [torch.load(f, weights_only=True, mmap=True) for f in files if pool.shown(int(f.stem))]
        if not shards:
            raise ValueError("no shard of the pool has kept its pictures: make at least the first")
        self.video = torch.cat([shard["video"] for shard in shards])
        first = 1 + (self.video.shape[1] - 1) // 4  # latents of what they keep: later frames have no say in them
        self.latents = torch.cat([shard["latents"][:, :, :first] for shard in shards])
        self.motion = torch.cat([shard["motion"][:, :first] for shard in shards])
        self.device = device

    def draw(self, rng, count: int) -> tuple[Tensor, Tensor, Tensor]:
        rows = torch.from_numpy(rng.integers(len(self.video), size=count))
        pixels = pool.to_tensor(self.video[rows]).to(self.device)
        motion = F.interpolate(self.motion[rows, None].to(self.device), scale_factor=(1, 8, 8))
        motion = torch.cat([motion[:, :, :1], motion[:, :, 1:].repeat_interleave(4, dim=2)], dim=2)
        return pixels, self.latents[rows].float().to(self.device), 1 + 2 * motion


def flipped(pixels: Tensor, rng) -> Tensor:
    return pixels.flip([axis for axis in (-1, -2) if rng.random() < 0.5])


def train(
    kind: Kind, part: str, teacher, files: list[Path], runs: Path, processes: int, stills: int = 0, steps: int = 0,
    minutes: float = 0, learned: dict[str, Tensor] | None = None,
) -> nn.Module:  # fmt: skip
    """The module whose `part` ("encoder" or "decoder") has learned, where the teacher is, for `stills` steps on stills
    and `steps` on stills and clips in turn (0: STEPS); the state in `runs`/<name>_<part>.pt is taken up where it was
    left.

    minutes: where given, it ends after so many, earlier calls included, its rates fallen, however many steps that was.
    learned: weights of the module to begin with.
    """
    device = teacher.device
    stills, steps = stills or STEPS[device.type][part][0], steps or STEPS[device.type][part][1]
    module = kind.module(learned).to(device)
    trained = getattr(module, part)
    file = runs / f"{kind.name}_{part}.pt"
    # What has learned of clips acts by more than its last taps.
    state = {"step": 0 if learned is None else stills, "minutes": 0.0}
    both = optimizers(trained, MUON_LR, ADAM_LR, plain=("conv_in", "conv_out", "conv_y", "conv_b"))
    if file.exists():
        saved = torch.load(file, weights_only=True, map_location=device)
        state = saved["state"]
        trained.load_state_dict(saved["part"])
        for optimizer, values in zip(both, saved["optimizers"]):
            optimizer.load_state_dict(values)
    rng = np.random.default_rng([7, state["step"]])
    torch.manual_seed(state["step"])
    still, moving = Stills(teacher, runs / "vae", processes), Clips(files, device)
    gradients, of_stills, of_clips = Steps(trained.parameters()), *BATCH[device.type]
    begun, before, recent, saved_at = time.monotonic(), state["minutes"], [[], []], time.monotonic()
    while (at := reached(state, stills + steps, minutes)) < stills + steps:
        early = at < stills
        alone = early or state["step"] % 2 == 0
        convolution = LastTap if early else AllTaps if alone else None
        run_as(module, convolution)
        batch = still.draw(rng, of_stills) if alone else moving.draw(rng, of_clips)
        done, factor = ((at / stills, 1.0) if early else ((at - stills) / steps, CLIP_SHARE))
        for optimizer, base in zip(both, (MUON_LR, ADAM_LR)):
            optimizer.param_groups[0]["lr"] = base * factor * max(falling(done + 1e-4), 0.02)
        _, error = gradients(convolution, partial(LOSSES[part], kind, module), list(batch))
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        for optimizer in both:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        state["step"] += 1
        state["minutes"] = before + (time.monotonic() - begun) / 60
        recent[not alone].append(-10 * error.log10())
        if state["step"] % 50 == 0:
            log.info(
                "%s %s step %d %.1f min: %s dB", kind.name, part, state["step"], state["minutes"],
                " and ".join(f"{torch.stack(last[-25:]).mean():.2f}" for last in recent if last),
            )  # fmt: skip
        if time.monotonic() - saved_at > SAVE:
            save(file, trained, both, state)
            saved_at = time.monotonic()
    run_as(module, None)
    save(file, trained, both, state)
    return module


def finish(
    kind: Kind, runs: Path, preview: list, file: Path, learned: dict[str, Tensor] | None = None
) -> None:  # fmt: skip
    """Both trained parts in one file; one that has not been trained here is that of `learned`."""
    module = kind.module(learned)
    for part in LOSSES:
        state = runs / f"{kind.name}_{part}.pt"
        if learned is None or state.exists():
            saved = torch.load(state, weights_only=True, map_location="cpu")
            getattr(module, part).load_state_dict(saved["part"])
    export.save_vae(module, kind.family, preview, file)


def save(file: Path, trained: nn.Module, both, state: dict) -> None:
    write(file, {"part": trained.state_dict(), "optimizers": [o.state_dict() for o in both], "state": state})
