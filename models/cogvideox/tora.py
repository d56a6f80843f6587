"""Tora's two additions to CogVideoX: the trajectory extractor and the motion-guidance fusers. Only the maths.

Source and parameter names: alibaba/Tora diffusers-version/tora/traj_module.py (TrajExtractor, MGF) in the sizes that
transformer_3d.py gives them.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..common.norm import added

BLOCKS = 2  # residual blocks of the extractor for each block of the transformer


class BatchNorm2d(nn.BatchNorm2d):
    """Without the count of training steps, which some files leave out and nothing reads."""

    def __init__(self, channels: int):
        super().__init__(channels)
        self.num_batches_tracked = None


class ResidualBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.bn1, self.bn2 = BatchNorm2d(channels), BatchNorm2d(channels)
        self.block1, self.block2 = (
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block2(F.relu(self.bn2(self.block1(F.relu(self.bn1(x))))))


class TrajectoryExtractor(nn.Module):
    """Latents of a flow video -> one feature map for each block of the transformer."""

    def __init__(self, in_channels: int, channels: int, layers: int, patch: tuple[int, int, int]):
        super().__init__()
        self.patch = patch
        t, h, w = patch
        self.conv_in = nn.Conv2d(in_channels * t * h * w, channels, 3, padding=1)
        self.body = nn.ModuleList(ResidualBlock(channels) for _ in range(BLOCKS * layers))

    def forward(self, flow: Tensor, strength: float | Tensor = 1.0) -> list[Tensor]:
        """flow: [batch, channels, frames, height, width], normalised latents; sides that the patches do not divide are
        padded with zeros at their end. strength: factor of all features (kijai/ComfyUI-CogVideoXWrapper
        nodes.py:ToraEncodeTrajectory). -> [batch * frames / t, features, height / h, width / w] for each block."""
        t, h, w = self.patch
        frames, height, width = flow.shape[2:]
        x = F.pad(flow, (0, -width % w, 0, -height % h, 0, -frames % t))
        x = x.unflatten(4, (-1, w)).unflatten(3, (-1, h)).unflatten(2, (-1, t))
        x = x.permute(0, 2, 1, 3, 5, 7, 4, 6)  # [batch, frames, channels, t, h, w, height, width]
        x = self.conv_in(x.flatten(2, 5).flatten(0, 1))
        features = []
        for index, block in enumerate(self.body, start=1):
            x = block(x)
            if index % BLOCKS == 0:
                features.append(x * strength)
        return features


class MotionFuser(nn.Module):
    """Modulates a block's video tokens by a trajectory feature: h + norm(h) * gamma + beta."""

    def __init__(self, features: int, dim: int):
        super().__init__()
        for name in ("gamma", "beta"):
            setattr(self, f"flow_{name}_spatial", nn.Conv2d(features, dim // 4, 3, padding=1))
            temporal = nn.Conv1d(dim // 4, dim, 3, padding=1, padding_mode="replicate")
            nn.init.zeros_(temporal.weight)
            nn.init.zeros_(temporal.bias)
            setattr(self, f"flow_{name}_temporal", temporal)
        self.flow_cond_norm = nn.GroupNorm(32, dim)

    def forward(self, h: Tensor, feature: Tensor, frames: int) -> Tensor:
        """h: [batch * frames, dim, height, width]; feature: [batch * frames, features, height, width]."""
        gamma = in_time(self.flow_gamma_temporal, self.flow_gamma_spatial(feature), frames)
        h = added(h, self.flow_cond_norm(h), gamma)
        del gamma  # as large as h, as beta will be
        return added(h, in_time(self.flow_beta_temporal, self.flow_beta_spatial(feature), frames))


def in_time(convolution: nn.Conv1d, x: Tensor, frames: int) -> Tensor:
    """A convolution along the frames of each position of x [batch * frames, channels, height, width]."""
    height, width = x.shape[-2:]
    x = x.unflatten(0, (-1, frames)).permute(0, 3, 4, 2, 1)  # [batch, height, width, channels, frames]
    x = convolution(x.flatten(0, 2)).unflatten(0, (-1, height, width))
    return x.permute(0, 4, 3, 1, 2).flatten(0, 1)
