"""The causal video VAE of CogVideoX, under the parameter names of diffusers.

Knows nothing of files or ComfyUI. Source: huggingface/diffusers models/autoencoders/autoencoder_kl_cogvideox.py. A clip
goes through in chunks, and the chunks are part of the function: group statistics are those of a chunk. What a
convolution must remember of earlier frames lives in a `Stream`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..common.causal import (
    ClipNorm, EnlargingConv2d, Window, WindowConv3d, added, as_clip, as_frames, remembered, silu,
)  # fmt: skip
from ..common.stream import Stream
from .config import CogVideoXVAEConfig
from .tiles import Tiling, in_tiles

SAMPLE_CHUNK, LATENT_CHUNK = 8, 2  # frames and latent frames of a chunk; what is left over goes into the first


class CausalConv3d(nn.Module):
    """Convolution over [batch, channels, frames, height, width] that sees the present and past frames only; before the
    clip it sees the first frame."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int):
        super().__init__()
        self.conv = WindowConv3d(in_channels, out_channels, kernel, padding=(0, kernel // 2, kernel // 2))
        self.history = kernel - 1

    def forward(
        self, frames: Iterator[Tensor], count: int, stream: Stream, spare: bool = False, into: Tensor | None = None
    ) -> Tensor:  # fmt: skip
        """frames: of a clip, `count`, made when they are needed. spare: they are not used again, by what makes them
        either; into: a clip that nobody needs any more once the frames are made of it, for the result."""
        window = Window(stream.pop(self, self.history), frames, count, spare, into)
        result = self.conv(window)
        if self.history:
            stream[self] = remembered(window.frames)
        return result


class SpatialNorm(nn.Module):
    """The decoder's norm: group norm, scaled and shifted by the latents at each place."""

    def __init__(self, groups: int, channels: int, latent_channels: int):
        super().__init__()
        self.norm_layer = ClipNorm(groups, channels, eps=1e-6)
        self.conv_y, self.conv_b = (CausalConv3d(latent_channels, channels, 1) for _ in range(2))

    def forward(self, x: Tensor, latents: Tensor, stream: Stream) -> Tensor:
        return as_clip(self.frames(x, latents, stream), x.shape[2])

    def frames(self, x: Tensor, latents: Tensor, stream: Stream) -> Iterator[Tensor]:
        """The frames of what `forward` gives, each when it is asked for; x may be overwritten as far as they were."""
        # The convolutions see single positions, so that they may go before the enlargement, where there are fewer.
        scales, shifts = (
            conv(as_frames(latents), latents.shape[2], stream).unbind(2) for conv in (self.conv_y, self.conv_b)
        )
        for i, normed in enumerate(self.norm_layer.frames(x)):
            at, size = source(i, x.shape[2], latents.shape[2]), x.shape[-2:]
            yield torch.addcmul(F.interpolate(shifts[at], size=size), normed, F.interpolate(scales[at], size=size))


def source(frame: int, frames: int, latents: int) -> int:
    """Which latent frame belongs to a frame of a chunk, nearest neighbours; where frames are odd in number, the first
    is apart."""
    if frames > 1 and frames % 2:
        return 0 if frame == 0 else 1 + (frame - 1) * (latents - 1) // (frames - 1)
    return frame * latents // frames


class ResidualBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, norm):
        super().__init__()
        self.norm1, self.norm2 = norm(in_channels), norm(out_channels)
        self.conv1 = CausalConv3d(in_channels, out_channels, 3)
        self.conv2 = CausalConv3d(out_channels, out_channels, 3)
        self.conv_shortcut = WindowConv3d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor, latents: Tensor | None, stream: Stream) -> Tensor:
        """latents: what the decoder's norms are told; None in the encoder."""
        told, count = () if latents is None else (latents, stream), x.shape[2]
        h = self.conv1(map(silu, self.norm1.frames(x, *told)), count, stream, spare=True)
        h = self.conv2(map(silu, self.norm2.frames(h, *told)), count, stream, spare=True, into=h)
        if self.conv_shortcut is None:
            return added(h, x)
        if torch.is_grad_enabled():
            return h + self.conv_shortcut(Window((), as_frames(x), count))
        for i, frame in enumerate(as_frames(x)):
            h[:, :, i] += self.conv_shortcut(Window((), [frame], 1))[:, :, 0]
        return h


class Downsample(nn.Module):
    """Halves height and width, and (`temporal`) the frames after the first."""

    def __init__(self, channels: int, temporal: bool):
        super().__init__()
        self.temporal = temporal
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor, latents: Tensor | None, stream: Stream) -> Tensor:
        frames = list(as_frames(x))
        if self.temporal and len(frames) > 1:
            apart = len(frames) % 2
            frames = frames[:apart] + [(a + b) / 2 for a, b in zip(frames[apart::2], frames[apart + 1 :: 2])]
        return as_clip((self.conv(F.pad(frame, (0, 1, 0, 1))) for frame in frames), len(frames))


class Upsample(nn.Module):
    """Doubles height and width, and (`temporal`) the frames after the first."""

    def __init__(self, channels: int, temporal: bool):
        super().__init__()
        self.temporal = temporal
        self.conv = EnlargingConv2d(channels, channels)

    def forward(self, x: Tensor, latents: Tensor | None, stream: Stream) -> Tensor:
        twice = self.temporal and x.shape[2] > 1
        apart = x.shape[2] % 2 if twice else x.shape[2]  # frames that stay one
        frames = (self.conv(frame) for frame in as_frames(x))
        return as_clip((frame for i, frame in enumerate(frames) for _ in range(1 if i < apart else 2)),
                       2 * x.shape[2] - apart)  # fmt: skip


class Level(nn.Module):
    """The residual blocks of one resolution and what leads to the next."""

    def __init__(self, in_channels: int, out_channels: int, count: int, norm, resample: nn.Module | None, name: str):
        super().__init__()
        channels = [in_channels] + [out_channels] * count
        self.resnets = nn.ModuleList(ResidualBlock(*pair, norm) for pair in zip(channels, channels[1:]))
        self.name = name
        if resample is not None:
            self.add_module(name, nn.ModuleList([resample]))

    def steps(self) -> list[nn.Module]:
        """Each is called with (clip, latents, stream)."""
        return [*self.resnets, *getattr(self, self.name, ())]


def steps(*levels: Level) -> list[nn.Module]:
    """The blocks of all levels: one after the other they let go of what each was given, as the levels would not."""
    return [step for level in levels for step in level.steps()]


class Encoder(nn.Module):
    def __init__(self, config: CogVideoXVAEConfig):
        super().__init__()
        widths, groups, count = config.block_out_channels, config.norm_num_groups, config.layers_per_block

        def norm(channels: int) -> nn.Module:
            return ClipNorm(groups, channels, eps=config.norm_eps)

        self.conv_in = CausalConv3d(3, widths[0], 3)
        self.down_blocks = nn.ModuleList(
            Level(
                widths[max(i - 1, 0)], width, count, norm,
                Downsample(width, i < temporal_levels(config)) if i < len(widths) - 1 else None, "downsamplers",
            )
            for i, width in enumerate(widths)
        )  # fmt: skip
        self.mid_block = Level(widths[-1], widths[-1], 2, norm, None, "downsamplers")
        self.norm_out = ClipNorm(groups, widths[-1], eps=1e-6)
        self.conv_out = CausalConv3d(widths[-1], 2 * config.latent_channels, 3)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        x = self.conv_in(as_frames(x), x.shape[2], stream)
        for step in steps(*self.down_blocks, self.mid_block):
            x = step(x, None, stream)
        return self.conv_out(map(silu, self.norm_out.frames(x)), x.shape[2], stream)


class Decoder(nn.Module):
    def __init__(self, config: CogVideoXVAEConfig):
        super().__init__()
        widths, groups, channels = config.block_out_channels[::-1], config.norm_num_groups, config.latent_channels

        def norm(width: int) -> nn.Module:
            return SpatialNorm(groups, width, channels)

        self.conv_in = CausalConv3d(channels, widths[0], 3)
        self.mid_block = Level(widths[0], widths[0], 2, norm, None, "upsamplers")
        self.up_blocks = nn.ModuleList(
            Level(
                widths[max(i - 1, 0)], width, config.layers_per_block + 1, norm,
                Upsample(width, i < temporal_levels(config)) if i < len(widths) - 1 else None, "upsamplers",
            )
            for i, width in enumerate(widths)
        )  # fmt: skip
        self.norm_out = norm(widths[-1])
        self.conv_out = CausalConv3d(widths[-1], 3, 3)

    def forward(self, latents: Tensor, stream: Stream) -> Tensor:
        x = self.conv_in(as_frames(latents), latents.shape[2], stream)
        for step in steps(self.mid_block, *self.up_blocks):
            x = step(x, latents, stream)
        return self.conv_out(map(silu, self.norm_out.frames(x, latents, stream)), x.shape[2], stream)


class CogVideoXVAE(nn.Module):
    """Encoder and decoder. Latents here are plain: what the network gives, before the scaling factor."""

    def __init__(self, config: CogVideoXVAEConfig):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.temporal = config.temporal_compression_ratio
        self.spatial = 2 ** (len(config.block_out_channels) - 1)

    def moments(self, pixels: Tensor, tiling: Tiling | None = None) -> Tensor:
        """Mean and log variance of the latents, [batch, 2 * latent_channels, latent frames, height / 8, width / 8].

        pixels: [batch, 3, frames, height, width] in -1..1. tiling: None encodes whole frames.
        """
        return in_tiles(lambda part: in_chunks(self.encoder, part, SAMPLE_CHUNK), pixels, tiling, 1 / self.spatial)

    def encode(self, pixels: Tensor) -> Tensor:
        """The mean of the latents; arguments as for `moments`."""
        return self.moments(pixels).chunk(2, dim=1)[0]

    def decode(self, latents: Tensor, tiling: Tiling | None = None) -> Tensor:
        """[batch, latent_channels, 1 + 2n, h, w] -> [batch, 3, 1 + 8n, 8h, 8w], not clamped. An even number of latent
        frames, which no clip of 1 + 8n frames has, gives four frames each."""
        return in_tiles(lambda part: in_chunks(self.decoder, part, LATENT_CHUNK), latents, tiling, self.spatial)


def temporal_levels(config: CogVideoXVAEConfig) -> int:
    """How many levels halve the frames."""
    return config.temporal_compression_ratio.bit_length() - 1


def in_chunks(network: nn.Module, x: Tensor, chunk: int) -> Tensor:
    """The network on x [batch, channels, frames, h, w] chunk by chunk, the first longer by the rest of the division."""
    stream = Stream()
    frames = x.shape[2]
    sizes = [chunk] * max(frames // chunk, 1)
    sizes[0] = frames - sum(sizes[1:])
    return torch.cat([network(part, stream) for part in x.split(sizes, dim=2)], dim=2)
