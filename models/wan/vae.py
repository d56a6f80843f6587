"""The causal video VAE of Wan 2.1, under the official parameter names.

Knows nothing of files, tiling or ComfyUI. Structure and constants: bytedance/ATI wan/modules/vae.py (WanVAE_, Resample,
ResidualBlock, CausalConv3d). The video is streamed: the first frame alone, then groups of frames; what a layer must
remember of earlier frames lives in a `Stream`, so that a chunk of any length gives the numbers of the whole clip.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..common.causal import (
    EnlargingConv2d, Window, WindowConv3d, added, as_clip, as_frames, by_pictures, joined, one_by_one, remembered, silu,
)  # fmt: skip
from ..common.stream import Stream
from .config import WanVAEConfig


class CausalConv3d(WindowConv3d):
    """Convolution over [batch, channels, frames, height, width] that sees the present and past frames only; before the
    clip it sees zeros."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int | tuple, stride=1, padding=0):
        kernel = (kernel,) * 3 if isinstance(kernel, int) else kernel
        padding = (padding,) * 3 if isinstance(padding, int) else padding
        super().__init__(in_channels, out_channels, kernel, stride, (0, *padding[1:]))
        self.history = 2 * padding[0]  # zero frames before the clip, remembered frames within it

    def forward(self, x: Tensor, stream: Stream, spare: bool = False) -> Tensor:
        """spare: x is not used again, by what gave it either."""
        window = Window(stream.pop(self, (None,) * self.history), as_frames(x), x.shape[2], spare)
        result = super().forward(window)
        if self.history:
            stream[self] = remembered(window.frames)
        return result


class LastConv3d(CausalConv3d):
    """A causal convolution to few channels: what the frames so far add to the next two is less than the frames."""

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        if torch.is_grad_enabled() or not by_pictures(x):
            return super().forward(x, stream)
        window = Window((), as_frames(x), x.shape[2])
        window.sums = stream.get(self, (0, 0))
        result = super(CausalConv3d, self).forward(window)
        stream[self] = window.sums
        return result

    def _conv_forward(self, window: Window, weight: Tensor, bias: Tensor, *_, **__) -> Tensor:
        if not hasattr(window, "sums"):
            return super()._conv_forward(window, weight, bias)
        done = []
        for _ in range(window.count):
            (frame,) = window.seen(1)
            window.move(1)
            second, first, own = (self.picture(frame, tap, None) for tap in weight.unbind(2))
            done.append(own + window.sums[0] + bias[:, None, None])
            window.sums = first + window.sums[1], second
        return as_clip(done, len(done))


class RMSNorm(nn.Module):
    """Scales each position to unit root mean square over its channels (dimension 1)."""

    def __init__(self, dim: int, spatial_dims: int = 3):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim, *(1,) * spatial_dims))

    def forward(self, x: Tensor, spare: bool = False) -> Tensor:
        """spare: x is not used again, so that the result may lie in its place."""
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(1e-12)
        scale = (x.shape[1] ** 0.5 / norm).to(x.dtype)
        if torch.is_grad_enabled():
            return x * scale * self.gamma.to(x.dtype)
        return (x.mul_(scale) if spare else x * scale).mul_(self.gamma.to(x.dtype))


class ResidualBlock(nn.Module):
    def __init__(self, in_dim: int, out_dim: int):
        super().__init__()
        self.residual = nn.Sequential(
            RMSNorm(in_dim), nn.SiLU(), CausalConv3d(in_dim, out_dim, 3, padding=1),
            RMSNorm(out_dim), nn.SiLU(), nn.Dropout(0.0), CausalConv3d(out_dim, out_dim, 3, padding=1),
        )  # fmt: skip
        self.shortcut = CausalConv3d(in_dim, out_dim, 1) if in_dim != out_dim else nn.Identity()

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        norm1, _, conv1, norm2, _, _, conv2 = self.residual
        h = conv1(silu(norm1(x)), stream, spare=True)
        h = conv2(silu(norm2(h, spare=True)), stream, spare=True)
        return added(h, self.shortcut(x, stream) if isinstance(self.shortcut, CausalConv3d) else x)


class AttentionBlock(nn.Module):
    """Single-head attention among the positions of each frame."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = RMSNorm(dim, spatial_dims=2)
        self.to_qkv = nn.Conv2d(dim, dim * 3, 1)
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        frames = x.transpose(1, 2).flatten(0, 1)  # [batch * frames, channels, height, width]
        q, k, v = self.to_qkv(self.norm(frames)).flatten(2).transpose(1, 2).unsqueeze(1).chunk(3, dim=-1)
        attended = F.scaled_dot_product_attention(q, k, v).squeeze(1).transpose(1, 2).reshape(frames.shape)
        return x + self.proj(attended).unflatten(0, (x.shape[0], -1)).transpose(1, 2)


class Resample(nn.Module):
    """Halves or doubles height and width, and (`temporal`) the frames after the first."""

    def __init__(self, dim: int, temporal: bool):
        super().__init__()
        self.temporal = temporal

    def spatial(self, x: Tensor) -> Tensor:
        return as_clip((self.resample(frame) for frame in as_frames(x)), x.shape[2])


class Downsample(Resample):
    def __init__(self, dim: int, temporal: bool):
        super().__init__(dim, temporal)
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(dim, dim, 3, stride=2))
        if temporal:
            self.time_conv = CausalConv3d(dim, dim, (3, 1, 1), stride=(2, 1, 1))

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        x = self.spatial(x)
        if not self.temporal:
            return x
        last, stream[self] = stream.get(self), x[:, :, -1:]
        return x if stream.first else self.time_conv(joined([last, x]), stream)


class Upsample(Resample):
    def __init__(self, dim: int, temporal: bool):
        super().__init__(dim, temporal)
        self.resample = nn.Sequential(nn.Identity(), EnlargingConv2d(dim, dim // 2))
        if temporal:
            self.time_conv = CausalConv3d(dim, dim * 2, (3, 1, 1), padding=(1, 0, 0))

    def longer(self, x: Tensor, stream: Stream) -> Tensor:
        """Twice the frames, except the first latent frame: it becomes one frame and is no context for the second, since
        so the weights were trained."""
        if not self.temporal or stream.first:
            return x
        even, odd = self.time_conv(x, stream).chunk(2, dim=1)
        return as_clip((frame for pair in zip(even.unbind(2), odd.unbind(2)) for frame in pair), 2 * even.shape[2])

    def larger(self, x: Tensor, _: Stream) -> Tensor:
        return self.spatial(x)


def run(layers: nn.Module, x: Tensor, stream: Stream) -> Tensor:
    """The layers one after another; those with a memory get the stream."""
    for layer in layers:
        stateful = isinstance(layer, (CausalConv3d, ResidualBlock, AttentionBlock, Resample))
        x = layer(x, stream) if stateful else layer(x)
    return x


class Encoder(nn.Module):
    def __init__(self, config: WanVAEConfig):
        super().__init__()
        dims = [config.dim * m for m in (1, *config.dim_mult)]
        layers = []
        for i, (in_dim, out_dim) in enumerate(zip(dims, dims[1:])):
            for j in range(config.num_res_blocks):
                layers.append(ResidualBlock(in_dim if j == 0 else out_dim, out_dim))
            if i < len(config.dim_mult) - 1:
                layers.append(Downsample(out_dim, config.temperal_downsample[i]))
        self.conv1 = CausalConv3d(3, dims[0], 3, padding=1)
        self.downsamples = nn.Sequential(*layers)
        self.middle = nn.Sequential(
            ResidualBlock(out_dim, out_dim), AttentionBlock(out_dim), ResidualBlock(out_dim, out_dim)
        )
        self.head = nn.Sequential(RMSNorm(out_dim), nn.SiLU(), CausalConv3d(out_dim, config.z_dim * 2, 3, padding=1))

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        # Up to where frames are first joined they go one by one: there the most memory is needed.
        joins = next((i for i, layer in enumerate(self.downsamples) if getattr(layer, "temporal", False)), 0)
        x = joined([run(self.downsamples[:joins], self.conv1(frame, stream), stream) for frame in x.split(1, dim=2)])
        for part in (self.downsamples[joins:], self.middle, self.head):
            x = run(part, x, stream)
        return x


class Decoder(nn.Module):
    def __init__(self, config: WanVAEConfig):
        super().__init__()
        dims = [config.dim * m for m in (config.dim_mult[-1], *config.dim_mult[::-1])]
        layers = []
        for i, (in_dim, out_dim) in enumerate(zip(dims, dims[1:])):
            for j in range(config.num_res_blocks + 1):
                first_in = in_dim // 2 if i else in_dim  # the upsampling before has halved the channels
                layers.append(ResidualBlock(first_in if j == 0 else out_dim, out_dim))
            if i < len(config.dim_mult) - 1:
                layers.append(Upsample(out_dim, config.temperal_downsample[::-1][i]))
        self.conv1 = CausalConv3d(config.z_dim, dims[0], 3, padding=1)
        self.middle = nn.Sequential(
            ResidualBlock(dims[0], dims[0]), AttentionBlock(dims[0]), ResidualBlock(dims[0], dims[0])
        )
        self.upsamples = nn.Sequential(*layers)
        self.head = nn.Sequential(RMSNorm(out_dim), nn.SiLU(), LastConv3d(out_dim, 3, 3, padding=1))

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        x = run(self.middle, self.conv1(x, stream), stream)
        steps = []
        for layer in self.upsamples:
            steps += [layer.longer, layer.larger] if isinstance(layer, Upsample) else [layer]
        return torch.cat([*one_by_one([*steps, self.last], x, stream)], dim=2)

    def last(self, x: Tensor, stream: Stream) -> Tensor:
        norm, _, conv = self.head
        return conv(silu(norm(x, spare=True)), stream)


class WanVAE(nn.Module):
    """Encoder and decoder with their 1x1x1 convolutions to and from the latent distribution.

    Latents here are plain: what the network gives, before the per-channel normalisation of `latent_format`.
    """

    def __init__(self, config: WanVAEConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.conv1 = CausalConv3d(config.z_dim * 2, config.z_dim * 2, 1)
        self.conv2 = CausalConv3d(config.z_dim, config.z_dim, 1)
        self.decoder = Decoder(config)
        self.temporal = 2 ** sum(config.temperal_downsample)
        self.spatial = 2 ** (len(config.dim_mult) - 1)

    def encode(self, pixels: Tensor, chunk: int | None = None) -> Tensor:
        """Mean of the latent distribution.

        pixels: [batch, 3, frames, height, width] in -1..1; frames beyond 4n + 1 are dropped, as the official code does.
        chunk: frames encoded at a time after the first, a multiple of 4 (default 4: least memory, same numbers).
        -> [batch, z_dim, 1 + n, height / 8, width / 8]
        """
        return self.moments(pixels, chunk).chunk(2, dim=1)[0]

    def moments(self, pixels: Tensor, chunk: int | None = None) -> Tensor:
        """Mean and log variance, [batch, 2 * z_dim, 1 + n, height / 8, width / 8]; arguments as for `encode`."""
        stream = Stream()
        frames = (pixels.shape[2] - 1) // self.temporal * self.temporal
        parts = [self.encoder(pixels[:, :, :1], stream)]
        stream.first = False
        for part in pixels[:, :, 1 : 1 + frames].split(chunk or self.temporal, dim=2) if frames else ():
            parts.append(self.encoder(part, stream))
        return self.conv1(torch.cat(parts, dim=2), stream)

    def decode(self, latents: Tensor, chunk: int = 1) -> Tensor:
        """[batch, z_dim, 1 + n, h, w] -> [batch, 3, 1 + 4n, 8h, 8w], not clamped. chunk: latent frames at a time."""
        stream = Stream()
        latents = self.conv2(latents, stream)
        parts = [self.decoder(latents[:, :, :1], stream)]
        stream.first = False
        for part in latents[:, :, 1:].split(chunk, dim=2) if latents.shape[2] > 1 else ():
            parts.append(self.decoder(part, stream))
        return torch.cat(parts, dim=2)
