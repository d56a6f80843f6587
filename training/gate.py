"""What must be true of the VAE before a transformer is trained on it: stills, clips, saturated colours. (Moving points:
`rebuilt` in evaluate.py.) Also where the trained module becomes the file."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from ..models.wan.vae import WanVAE
from . import clips, export
from .pool import to_tensor
from .precision import autocast
from .train_vae import CONFIG

log = logging.getLogger(__name__)


def finish(runs: Path, photos, file: Path, device: str = "cpu", count: int = 24) -> None:
    """`runs`/vae.pt -> `file`, with statistics measured on `count` clips of each size."""
    module = WanVAE(CONFIG)
    module.load_state_dict(torch.load(runs / "vae.pt", weights_only=True, map_location="cpu")["module"])
    module.eval().requires_grad_(False).to(device)
    videos = [
        to_tensor(
            np.stack([clips.make_clip(photos, np.random.default_rng([13, i, k]), size).video for i in range(count)])
        )
        for k, size in enumerate(clips.SIZES)
    ]
    plain = [encode(module, video) for video in videos]
    export.fold_statistics(module.cpu(), torch.cat([z.transpose(0, 1).flatten(1) for z in plain], dim=1))
    from ..models.wan.latent import WAN21

    module.to(device)
    after = [WAN21.from_plain(encode(module, video[:8])) for video in videos]
    together = torch.cat([z.transpose(0, 1).flatten(1) for z in after], dim=1)
    log.info("normalised latents: mean %.3f at most, deviation %.3f to %.3f",
             together.mean(1).abs().max(), together.std(1).min(), together.std(1).max())  # fmt: skip
    shapes = [export.fit_preview(z, video[:8]) for z, video in zip(after[:1], videos[:1])]
    export.save_vae(module.cpu(), "wan", shapes[0], file)


def measure(vae, held_out, count: int = 24) -> dict[str, float]:
    """stills, clips: PSNR in dB on held-out photographs; colour: largest mean error of a saturated patch, 0..255."""
    rng = np.random.default_rng(17)
    stills = to_tensor(np.stack([clips.make_still(held_out, rng) for _ in range(count)])[:, None])
    figures = {"stills": psnr(rebuild(vae, stills), stills)}
    made = [clips.make_clip(held_out, np.random.default_rng([19, i])) for i in range(count // 2)]
    video = to_tensor(np.stack([clip.video for clip in made]))
    figures["clips"] = psnr(rebuild(vae, video), video)
    patches = colour_patches()
    error = (rebuild(vae, patches) - patches)[:, :, 0, 24:72, 24:72].mean((-1, -2)).abs().max() * 127.5
    figures["colour"] = float(error)
    return figures


def colour_patches() -> Tensor:
    """Squares of the six pure colours on grey: [6, 3, 1, 96, 96]."""
    hsv = np.zeros((6, 96, 96, 3), np.uint8)
    hsv[..., 2] = 128
    for i in range(6):
        hsv[i, 16:80, 16:80] = (30 * i, 220, 220)
    return to_tensor(np.stack([cv2.cvtColor(picture, cv2.COLOR_HSV2RGB) for picture in hsv])[:, None])


def encode(module: WanVAE, pixels: Tensor) -> Tensor:
    device, chunk = next(module.parameters()).device, max(4, pixels.shape[2] - 1)
    with torch.no_grad(), autocast(device):
        parts = channels_last(pixels).split(4)
        return torch.cat([module.encode(part.to(device), chunk=chunk).float().cpu() for part in parts])


def rebuild(vae, pixels: Tensor) -> Tensor:
    """What a VideoVAE makes of pixels on the way to latents and back."""
    with autocast(vae.device):
        return torch.cat([vae.decode(vae.encode(channels_last(part))).float().cpu() for part in pixels.split(4)])


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last_3d)


def psnr(made: Tensor, wanted: Tensor) -> float:
    """In dB, of the mean squared error of all."""
    return float(10 * torch.log10(4 / (made - wanted).pow(2).mean()))
