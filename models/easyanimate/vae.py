"""The causal video VAE of EasyAnimate V5.1 (Magvit), under the official parameter names.

Knows nothing of files, tiling or ComfyUI. Structure and constants: aigc-apps/EasyAnimate
easyanimate/models/autoencoder_magvit.py (AutoencoderKLMagvit with cache_mag_vae),
easyanimate/vae/ldm/modules/vaemodules. The video is streamed: the first frame alone, then groups of frames; what a
convolution must remember of earlier frames lives in a `Stream`, so that a chunk of any length gives the numbers of the
whole clip.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..common.causal import (
    FrameNorm, Window, WindowConv3d, added, as_frames, enlarged, enlarged_convolution, joined, one_by_one,
    remembered, silu,
)  # fmt: skip
from ..common.errors import ModelError
from ..common.stream import Stream
from .config import EasyAnimateVAEConfig

HISTORY = 2  # frames before the present one that a convolution sees


class CausalConv3d(WindowConv3d):
    """A 3 x 3 x 3 convolution over the present and the two past frames; before the clip its first frame is repeated."""

    def __init__(self, in_channels: int, out_channels: int, stride: int | tuple = 1, padding: int = 1):
        super().__init__(in_channels, out_channels, 3, stride, (0, padding, padding))

    def forward(self, x: Tensor, stream: Stream, spare: bool = False) -> Tensor:
        """spare: x is not used again, by what gave it either."""
        window = Window(stream.pop(self, HISTORY), as_frames(x), x.shape[2], spare)
        result = super().forward(window)
        stream[self] = remembered(window.frames)
        return result


class EnlargingConv3d(CausalConv3d):
    """The same over frames of twice the size, of which it remembers the small ones."""

    def rows_at_once(self, frame: Tensor) -> int:
        return 0

    def picture(self, frame: Tensor, tap: Tensor, bias: Tensor | None) -> Tensor:
        if torch.is_grad_enabled():
            return super().picture(enlarged(frame), tap, bias)
        return enlarged_convolution(frame, tap, bias)

    def whole(self, frames: Sequence[Tensor], weight: Tensor, bias: Tensor | None) -> Tensor:
        return super().whole([enlarged(frame) for frame in frames], weight, bias)


class ResidualBlock(nn.Module):
    def __init__(self, in_dim: int, out_dim: int, groups: int):
        super().__init__()
        self.norm1, self.conv1 = FrameNorm(groups, in_dim, 1e-6), CausalConv3d(in_dim, out_dim)
        self.norm2, self.conv2 = FrameNorm(groups, out_dim, 1e-6), CausalConv3d(out_dim, out_dim)
        self.shortcut = nn.Conv3d(in_dim, out_dim, 1) if in_dim != out_dim else nn.Identity()

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        h = self.conv1(silu(self.norm1(x)), stream, spare=True)
        h = silu(self.norm2(h))
        h = self.conv2(h, stream, spare=True)
        return added(h, self.shortcut(x))


class Downsampler(nn.Module):
    """Halves height and width, and (`temporal`) the frames after the first."""

    def __init__(self, dim: int, temporal: bool):
        super().__init__()
        self.conv = CausalConv3d(dim, dim, (2 if temporal else 1, 2, 2), padding=0)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)), stream)


class Upsampler(nn.Module):
    """Doubles height and width, and (`temporal`) the frames after the first."""

    def __init__(self, dim: int, temporal: bool):
        super().__init__()
        self.temporal = temporal
        self.conv = EnlargingConv3d(dim, dim)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        x = self.conv(x, stream)
        if not self.temporal or stream.first:
            return x
        return x.unsqueeze(3).expand(-1, -1, -1, 2, -1, -1).flatten(2, 3)  # of one frame two that are one in memory


class Level(nn.Module):
    """Residual blocks at one resolution, then the way to the next, if any."""

    def __init__(self, in_dim: int, out_dim: int, count: int, groups: int):
        super().__init__()
        self.convs = nn.ModuleList(ResidualBlock(in_dim if i == 0 else out_dim, out_dim, groups) for i in range(count))

    @property
    def joins(self) -> bool:
        """Whether frames are made fewer at its end."""
        return hasattr(self, "downsampler") and self.downsampler.conv.stride[0] == 2

    def steps(self) -> list[nn.Module]:
        """Each is called with (clip, stream)."""
        return [*self.convs, *(getattr(self, name) for name in ("downsampler", "upsampler") if hasattr(self, name))]


def run(x: Tensor, stream: Stream, *levels: Level) -> Tensor:
    """The levels one after another; none holds on to what it was given."""
    for level in levels:
        for step in level.steps():
            x = step(x, stream)
    return x


class Encoder(nn.Module):
    def __init__(self, config: EasyAnimateVAEConfig):
        super().__init__()
        dims, groups, count = config.block_out_channels, config.norm_num_groups, config.layers_per_block
        self.conv_in = CausalConv3d(3, dims[0])
        self.down_blocks = nn.ModuleList()
        for i, (in_dim, out_dim) in enumerate(zip((dims[0], *dims), dims)):
            level = Level(in_dim, out_dim, count, groups)
            if i < len(dims) - 1:
                level.downsampler = Downsampler(out_dim, temporal=i > 0)
            self.down_blocks.append(level)
        self.mid_block = Level(dims[-1], dims[-1], count, groups)
        self.conv_norm_out = FrameNorm(groups, dims[-1], 1e-6)
        self.conv_out = CausalConv3d(dims[-1], 2 * config.latent_channels)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        # Up to where frames are first joined they go one by one: there the most memory is needed.
        joins = next((i for i, level in enumerate(self.down_blocks) if level.joins), 0)
        x = joined([run(self.conv_in(frame, stream), stream, *self.down_blocks[:joins]) for frame in x.split(1, dim=2)])
        x = run(x, stream, *self.down_blocks[joins:], self.mid_block)
        return self.conv_out(silu(self.conv_norm_out(x)), stream)


class Decoder(nn.Module):
    def __init__(self, config: EasyAnimateVAEConfig):
        super().__init__()
        dims, groups, count = config.block_out_channels[::-1], config.norm_num_groups, config.layers_per_block
        self.conv_in = CausalConv3d(config.latent_channels, dims[0])
        self.mid_block = Level(dims[0], dims[0], count, groups)
        self.up_blocks = nn.ModuleList()
        for i, (in_dim, out_dim) in enumerate(zip((dims[0], *dims), dims)):
            level = Level(in_dim, out_dim, count + 1, groups)
            if i < len(dims) - 1:
                level.upsampler = Upsampler(out_dim, temporal=i > 0)
            self.up_blocks.append(level)
        self.conv_norm_out = FrameNorm(groups, dims[-1], 1e-6)
        self.conv_out = CausalConv3d(dims[-1], 3)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        x = run(self.conv_in(x, stream), stream, self.mid_block)
        steps = [step for level in self.up_blocks for step in level.steps()]
        return torch.cat([*one_by_one([*steps, self.last], x, stream)], dim=2)

    def last(self, x: Tensor, stream: Stream) -> Tensor:
        return self.conv_out(silu(self.conv_norm_out(x)), stream)


class EasyAnimateVAE(nn.Module):
    """Encoder and decoder with their 1x1x1 convolutions to and from the latent distribution.

    Latents here are plain: what the network gives, before the scaling factor of the pipelines.
    """

    def __init__(self, config: EasyAnimateVAEConfig):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quant_conv = nn.Conv3d(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.post_quant_conv = nn.Conv3d(config.latent_channels, config.latent_channels, 1)
        self.spatial = 2 ** (len(config.block_out_channels) - 1)
        self.temporal = 2 ** (len(config.block_out_channels) - 2)

    def encode(self, pixels: Tensor, chunk: int | None = None) -> Tensor:
        """Mean of the latent distribution.

        pixels: [batch, 3, 1 + 4n, height, width] in -1..1. chunk: frames encoded at a time after the first, a multiple
        of 4 (default 4: least memory, same numbers). -> [batch, latent_channels, 1 + n, height / 8, width / 8]
        """
        return self.moments(pixels, chunk).chunk(2, dim=1)[0]

    def moments(self, pixels: Tensor, chunk: int | None = None) -> Tensor:
        """Mean and log variance, [batch, 2 * latent_channels, 1 + n, height / 8, width / 8]; as for `encode`."""
        if (pixels.shape[2] - 1) % self.temporal:
            raise ModelError(
                f"The VAE encodes {self.temporal}n + 1 frames, not {pixels.shape[2]}: leave out or add a few frames."
            )
        return self.quant_conv(streamed(self.encoder, pixels, chunk or self.temporal))

    def decode(self, latents: Tensor, chunk: int = 1) -> Tensor:
        """[batch, latent_channels, 1 + n, h, w] -> [batch, 3, 1 + 4n, 8h, 8w], not clamped. chunk: latent frames at a
        time."""
        return streamed(self.decoder, self.post_quant_conv(latents), chunk)


def streamed(network: nn.Module, x: Tensor, chunk: int) -> Tensor:
    """The network over a clip: frame 0 alone, then `chunk` frames at a time."""
    stream = Stream()
    parts = [network(x[:, :, :1], stream)]
    stream.first = False
    parts += [network(part, stream) for part in x[:, :, 1:].split(chunk, dim=2) if part.shape[2]]
    return torch.cat(parts, dim=2)
