"""What a transformer of another system takes over from ATI's trained one before it learns itself. Trains nothing.

Tokens, heads and feed-forward are the same things in all three systems, so their weights are copied; what the timestep
does to a block is fitted, since the others have narrower embeddings of it. ATI's cross-attention and what the other
systems are conditioned by have no counterpart: those start as before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from ..models.common.rope import sinusoidal_embedding
from ..models.wan.transformer import WanTransformer

POINTS = 400  # noise levels at which the timestep's effect is compared
RIDGE = 1e-6  # keeps the fitted weights small


@dataclass(frozen=True)
class Target:
    """The transformer that begins, in parts that the systems name differently.

    blocks: with norm1, norm2, attn1 and ff; patches: the convolution of its first `picture` channels' tokens (noise),
    then those of the start image from channel `image` on; time: the embedding of timesteps; norm_out, proj_out: of its
    head. step: how far neighbouring rows and columns of tokens are apart in its positions.
    """

    blocks: nn.ModuleList
    patches: nn.Conv2d
    image: int
    time: nn.Module
    norm_out: nn.Linear
    proj_out: nn.Linear
    head_dim: int
    step: float


@torch.no_grad()
def take_over(source: WanTransformer, target: Target, timesteps: Tensor, levels: Tensor) -> None:
    """Writes what `source` has learned into the modules of `target`.

    timesteps: [n] of the target, levels: [n] in 0..1, the flow's share of noise at each.
    """
    config = source.config
    channels = config.out_dim
    dim = config.dim
    time = source.time_embedding(sinusoidal_embedding(levels * 1000, config.freq_dim))
    modulation = source.time_projection(time).unflatten(1, (6, -1))
    features = torch.nn.functional.silu(target.time(sinusoidal_embedding(timesteps, target.patches.out_channels)))
    turns = matched_turns(config.dim // config.num_heads, target.step)
    for block, learned in zip(target.blocks, source.blocks):
        wanted = modulation + learned.modulation
        for norm, parts in ((block.norm1, wanted[:, :3]), (block.norm2, wanted[:, 3:])):
            fit(norm.linear, slice(0, 3 * dim), features, parts.flatten(1))
        attention, own = block.attn1, learned.self_attn
        heads = config.num_heads
        for mine, theirs, norm, scale in (
            (attention.to_q, own.q, attention.norm_q, own.norm_q), (attention.to_k, own.k, attention.norm_k, own.norm_k)
        ):  # fmt: skip
            mine.weight.copy_(theirs.weight.unflatten(0, (heads, -1))[:, turns].flatten(0, 1))
            mine.bias.copy_(theirs.bias.unflatten(0, (heads, -1))[:, turns].flatten())
            norm.weight.copy_(scale.weight.unflatten(0, (heads, -1)).mean(0)[turns])
        for mine, theirs in ((attention.to_v, own.v), (attention.to_out[0], own.o)):
            mine.load_state_dict(theirs.state_dict())
        enter, leave, width = block.ff.net[0].proj, block.ff.net[2], config.ffn_dim
        enter.weight[:width], enter.bias[:width] = learned.ffn[0].weight, learned.ffn[0].bias
        leave.weight[:, :width], leave.bias[:] = learned.ffn[2].weight, learned.ffn[2].bias
    patches = source.patch_embedding.weight[:, :, 0]
    target.patches.weight[:, :channels] = patches[:, :channels]
    target.patches.weight[:, target.image : target.image + channels] = patches[:, -channels:]  # behind ATI's mask
    target.patches.bias.copy_(source.patch_embedding.bias)
    wanted = time[:, None] + source.head.modulation
    fit(target.norm_out, slice(None), features, wanted.flatten(1))
    for name in ("weight", "bias"):  # ATI's head gives patches of channels, the others channels of patches
        value = getattr(source.head.head, name).unflatten(0, (-1, channels)).transpose(0, 1).flatten(0, 1)
        getattr(target.proj_out, name).copy_(value)


def fit(linear: nn.Linear, rows: slice, features: Tensor, wanted: Tensor) -> None:
    """Least squares: those rows of `linear` give `wanted` [n, rows] of `features` [n, in] as well as they can."""
    x = torch.cat([features, torch.ones(len(features), 1)], dim=1).double()
    found = torch.linalg.solve(x.T @ x + RIDGE * len(x) * torch.eye(x.shape[1]), x.T @ wanted.double())
    linear.weight[rows], linear.bias[rows] = found[:-1].T.float(), found[-1].float()


def matched_turns(head_dim: int, step: float) -> Tensor:
    """[head_dim]: which channel of ATI's heads goes where, so that pairs turn along the same axis about as fast.

    Both split a head into time, rows and columns (models/common/rope.py: rotary_table, rotary_at), but not in equal
    shares, so a few pairs change their axis.
    """
    half = head_dim // 2
    theirs = [(axis, 10000 ** (-i / size)) for axis, size in enumerate((half - 2 * (half // 3), half // 3, half // 3))
              for i in range(size)]  # fmt: skip
    mine = [(axis, 10000 ** (-i / size) * (step if axis else 1)) for axis, size in
            enumerate((head_dim // 8, head_dim // 16 * 3, head_dim // 16 * 3)) for i in range(size)]  # fmt: skip
    cost = [[abs(math.log(fast / other)) + 20 * (axis != turned) for turned, other in theirs] for axis, fast in mine]
    _, chosen = linear_sum_assignment(cost)
    return torch.tensor(chosen).repeat_interleave(2) * 2 + torch.arange(head_dim) % 2
