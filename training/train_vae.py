"""Trains the small Wan VAE, on stills and on clips: without its residual blocks first, then with the decoder's.
Resumable.

Exactly the shipped module is trained; what its blocks add begins at zero. Where shallow stages came before, the
encoder's stay there: its latents then cost a tenth to make, which is most of the pool's work. Where none did, everything
is trained from the start.
"""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.wan.config import WanVAEConfig
from ..models.wan.vae import CausalConv3d, WanVAE
from . import clips, pictures
from .optim import optimizers, rate
from .pool import to_tensor
from .precision import autocast_backward
from .processes import write
from .replay import Steps
from .shallow import shallow

log = logging.getLogger(__name__)

CONFIG = WanVAEConfig(dim=16)
STAGES = {  # pictures of each, whether all blocks are left out, factor of the learning rates
    "shallow stills": ("stills", True, 1.0),
    "shallow clips": ("clips", True, 0.5),
    "stills": ("stills", False, 1.0),
    "clips": ("clips", False, 0.25),
}
GENTLY = 0.4  # factor of the learning rates of the later stages, where shallow ones came before
BATCH = {"cpu": (16, 2), "cuda": (64, 16)}  # of stills, of clips
STILL_POOL, CLIP_POOL = 9000, 2400
KL = 2e-4
BETWEEN = 0.5  # share of the examples that are seen from between two positions of the latents


def build() -> WanVAE:
    """The module with convolutions that start as identity in time: the last tap acts, the others are zero."""
    module = WanVAE(CONFIG)
    for layer in module.modules():
        if isinstance(layer, CausalConv3d):
            if layer.kernel_size[0] == 3:
                torch.nn.init.kaiming_normal_(layer.weight[:, :, -1], nonlinearity="linear")
                layer.weight.data[:, :, :-1] = 0
    for name, layer in module.named_modules():
        if name.endswith("time_conv"):
            eye = torch.eye(layer.in_channels)
            layer.weight.data[:, :, -1, 0, 0] = eye.repeat(layer.out_channels // layer.in_channels, 1)
            layer.bias.data.zero_()
        if name.endswith("residual.6"):
            layer.weight.data *= 0.3
    return module


def loss_of(module: WanVAE, pixels: Tensor, weight: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Total loss and mean squared error of a batch [batch, 3, frames, height, width] in -1..1, decoded as seen from
    `offsets` [batch, 2] (rows and columns, below 8) pixels further on: what lies between two positions of the latents
    is to be their blend, so that what moves by less than a position changes them in a way that is easy to predict.
    After EQ-VAE, https://arxiv.org/abs/2502.09509, which turns and shrinks them."""
    with autocast_backward(pixels.device):
        mean, spread = module.moments(pixels, chunk=pixels.shape[2]).float().chunk(2, dim=1)
        spread = spread.clamp(-12, 4)
        latents = mean + torch.randn_like(mean) * (spread / 2).exp()
        latents = blended(latents, offsets).contiguous(memory_format=torch.channels_last_3d)
        made = module.decode(latents, chunk=latents.shape[2]).float()
    pixels, weight = cut(pixels, offsets), cut(weight, offsets)
    error = (made - pixels) ** 2
    mse = error.mean()
    # Low frequencies of colour, which a plain error learns last (green against magenta above all).
    coarse = F.avg_pool3d(made - pixels, (1, 8, 8))
    chroma = (coarse - coarse.mean(1, keepdim=True)).pow(2).mean() + 0.3 * coarse.pow(2).mean()
    kl = 0.5 * (mean**2 + spread.exp() - 1 - spread).mean()
    return (error * weight).mean() + chroma + KL * kl, mse


def blended(latents: Tensor, offsets: Tensor) -> Tensor:
    """[batch, c, f, h, w] -> [batch, c, f, h - 1, w - 1]: between each position and the next, offsets / 8 of the way."""
    down, right = (offsets / 8).view(-1, 2, 1, 1, 1, 1).unbind(1)
    latents = torch.lerp(latents[..., :-1, :], latents[..., 1:, :], down)
    return torch.lerp(latents[..., :-1], latents[..., 1:], right)


def cut(pixels: Tensor, offsets: Tensor) -> Tensor:
    """[batch, c, f, h, w] -> [batch, c, f, h - 8, w - 8] of each, beginning at its offset."""
    rows, columns = (
        torch.arange(side - 8, device=pixels.device) + first[:, None]
        for side, first in zip(pixels.shape[-2:], offsets.unbind(1))
    )
    which = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    return pixels[which, ..., rows[:, :, None], columns[:, None]].movedim((1, 2), (-2, -1))


Examples = tuple[Tensor, Tensor | None]  # of one size: pictures, and what moves in them, as pictures.moving gives it


def examples_of(name: str, folder: Path, processes: int, device: str) -> list[Examples]:
    """What a stage draws from."""
    if name == "stills":
        return [(pictures.stills(folder, STILL_POOL, processes).to(device), None)]
    made = [pictures.moving(folder, size, CLIP_POOL // len(clips.SIZES), processes) for size in clips.SIZES]
    return [(video.to(device), motion.to(device)) for video, motion in made]


def draw(every: list[Examples], rng, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """A batch of one size, mirrored at random, the weight of its errors, and the offsets it is to be seen from."""
    video, motion = every[step % len(every)]
    rows = torch.from_numpy(rng.integers(len(video), size=BATCH[video.device.type][len(every) > 1])).to(video.device)
    pixels, weight = to_tensor(video[rows]), torch.ones(len(rows), 1, *video.shape[1:4], device=video.device)
    flips = [axis for axis in (-1, -2) if rng.random() < 0.5]
    if motion is not None:
        weight = (1 + motion[rows, None] / 50).flip(flips)  # 3 where everything moves
    offsets = rng.integers(8, size=(len(rows), 2)) * (rng.random((len(rows), 1)) < BETWEEN)
    pixels = pixels.flip(flips).contiguous(memory_format=torch.channels_last_3d)
    return pixels, weight, torch.from_numpy(offsets).to(video.device)


def train(
    runs: Path, minutes: dict[str, float], processes: int, device: str = "cpu", muon_lr=0.01, adam_lr=1e-3
) -> WanVAE:
    """The trained module; the state in `runs`/vae.pt is taken up where it was left. minutes: of each of STAGES; of none
    it is left out."""
    runs.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    module = build().to(device)
    file = runs / "vae.pt"
    state = {"stage": 0, "spent": 0.0, "step": 0}
    saved = torch.load(file, weights_only=True, map_location=device) if file.exists() else None
    if saved:
        state = saved["state"]
        module.load_state_dict(saved["module"])
    shallow_first = any(minutes[name] for name, stage in STAGES.items() if stage[1])
    for number, (name, (shown, all_left_out, share)) in enumerate(STAGES.items()):
        if number < state["stage"] or not minutes[name]:
            continue
        state = state if number == state["stage"] else {"stage": number, "spent": 0.0, "step": 0}
        left_out = module if all_left_out else module.encoder if shallow_first else None
        gently = GENTLY if shallow_first and not all_left_out else 1.0
        bases = [muon_lr * share * gently, adam_lr * share * gently]
        both = optimizers(module, *bases)
        if saved and number == saved["state"]["stage"] and saved["optimizers"]:
            for optimizer, values in zip(both, saved["optimizers"]):
                optimizer.load_state_dict(values)
        with shallow(left_out) if left_out else nullcontext():
            every = examples_of(shown, runs / "vae", processes, device)
            run_stage(module, both, bases, name, minutes[name], state, file, every)
        state = {"stage": number + 1, "spent": 0.0, "step": 0}
        save(file, module, [], state)
    return module


def run_stage(module, both, bases, name, minutes, state, file, every: list[Examples]) -> None:
    rng = np.random.default_rng([7, state["stage"], state["step"]])
    begun, spent, saved_at, recent = time.monotonic(), state["spent"], time.monotonic(), []
    gradients = Steps(module.parameters())
    while state["spent"] < minutes:
        factor = rate(state["spent"] / minutes)
        for optimizer, base in zip(both, bases):
            optimizer.param_groups[0]["lr"] = base * factor
        _, mse = gradients(name, partial(loss_of, module), list(draw(every, rng, state["step"])))
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        for optimizer in both:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        state["step"] += 1
        state["spent"] = spent + (time.monotonic() - begun) / 60
        recent.append(mse.clone())
        if state["step"] % 50 == 0:
            decibels = 10 * torch.log10(4 / torch.stack(recent[-50:]).mean())
            log.info("vae %s step %d %.1f min: %.2f dB", name, state["step"], state["spent"], decibels)
        if time.monotonic() - saved_at > 120:
            save(file, module, both, state)
            saved_at = time.monotonic()


def save(file: Path, module, both, state) -> None:
    write(file, {"module": module.state_dict(), "optimizers": [o.state_dict() for o in both], "state": state})
