"""A tiny video decoder (TAEHV), by which latents are watched while they are sampled. Knows no model and no sampler.

Parameter names and structure: madebyollin/taehv taehv.py (MemBlock, TGrow, TAEHV.decoder). It decodes normalised
latents; each latent frame is remembered by the next one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checkpoint import Checkpoint, assign, open_checkpoint
from .errors import CheckpointError

BLOCKS = 3  # memory blocks at each resolution
CLAMP = 3.0  # latents beyond it are squeezed


class MemoryBlock(nn.Module):
    """A residual block that also sees its own input of the frame before."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 3, padding=1), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """[frames, channels, height, width], the frames in order; nothing comes before the first."""
        past = F.pad(x, (0, 0, 0, 0, 0, 0, 1, 0))[:-1]
        return F.relu(self.conv(torch.cat([x, past], dim=1)) + x)


class Grow(nn.Module):
    """Makes `count` frames of each."""

    def __init__(self, channels: int, count: int):
        super().__init__()
        self.count = count
        self.conv = nn.Conv2d(channels, channels * count, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).unflatten(1, (self.count, -1)).flatten(0, 1)


class TinyDecoder(nn.Module):
    """widths: channels at each of the resolutions, coarse to fine, the last twice. counts: frames made of one there."""

    def __init__(self, latent_channels: int, widths: list[int], counts: list[int]):
        super().__init__()
        layers = [nn.Identity(), nn.Conv2d(latent_channels, widths[0], 3, padding=1), nn.ReLU()]
        for width, after, count in zip(widths, widths[1:], counts):
            layers += [MemoryBlock(width) for _ in range(BLOCKS)]
            layers += [nn.Upsample(scale_factor=2), Grow(width, count)]
            layers += [nn.Conv2d(width, after, 3, padding=1, bias=False)]
        self.decoder = nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(widths[-1], 3, 3, padding=1))

    @torch.no_grad()
    def frame(self, latents: Tensor) -> Tensor:
        """The last frame of normalised latents [channels, frames, h, w], as a picture [8h, 8w, 3] in 0..1."""
        weight = self.decoder[1].weight
        x = latents.transpose(0, 1).to(weight)
        return self.decoder(CLAMP * torch.tanh(x / CLAMP))[-1].clamp(0, 1).permute(1, 2, 0).float()


def load_tiny_decoder(path, device: torch.device | str = "cpu") -> TinyDecoder:
    """From a .pth or .safetensors file of TAEHV with an encoder beside the decoder or not. CheckpointError names it."""
    checkpoint = open_checkpoint(path)
    shapes = checkpoint.shapes
    first, step = "decoder.1.weight", BLOCKS + 3
    at = [f"decoder.{3 + step * i + BLOCKS + 1}.conv.weight" for i in range(3)]
    after = [f"decoder.{3 + step * i + BLOCKS + 2}.weight" for i in range(3)]
    if any(name not in shapes for name in (first, *at, *after)):
        raise CheckpointError(f"{path} is no TAEHV decoder. Get taew2_1 of madebyollin/taehv, or remove the file.")
    widths = [shapes[first][0], *(shapes[name][0] for name in after)]
    counts = [shapes[name][0] // shapes[name][1] for name in at]
    with torch.device("meta"):
        module = TinyDecoder(shapes[first][1], widths, counts)
    wanted = Checkpoint.from_tensors({key: checkpoint[key] for key in checkpoint if key.startswith("decoder.")}, path)
    return assign(module, wanted).eval().requires_grad_(False).to(device)
