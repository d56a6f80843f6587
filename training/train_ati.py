"""Trains the small ATI transformer by flow matching on the encoded pool. Resumable; knows no pixels.

Everything that conditions the model is made by the code that conditions it when it is used: motion_patch, umT5, CLIP.
"""

from __future__ import annotations

import copy
import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..models.wan import transformer as wan
from ..models.wan.config import WanConfig
from ..models.wan.motion_patch import motion_patch
from ..models.wan.system import plain_conditioning
from ..trajectory import Tracks
from ..trajectory.ati import normalised
from . import clips, encoders
from .optim import falling, optimizers
from .precision import autocast

log = logging.getLogger(__name__)

CONFIG = WanConfig(
    dim=192, ffn_dim=640, num_heads=6, num_layers=6, text_dim=encoders.TEXT["d_model"], freq_dim=128,
    text_len=encoders.TEXT_LENGTH, clip_dim=encoders.IMAGE["hidden_size"],
)  # fmt: skip
DEFAULTS = {
    "width": 96, "height": 96, "frames": 17, "fps": 8.0, "steps": 5, "cfg": 1.0, "shift": 5.0, "scheduler": "euler",
    "temperature": 10.0, "topk": 2, "sizes": [list(size) for size in clips.SIZES],
}  # fmt: skip
BATCH = 8
MOVING = 4.0  # weight of the loss where the clip moves
EMA = 0.999
RELOAD = 500  # steps after which new shards of the pool are looked for
MUON_LR, ADAM_LR = 0.008, 1.5e-3
NOT_MUON = ("patch_embedding", "head.head", "position_embedding", "class_embedding")


class Student(nn.Module):
    """The transformer and the image encoder, trained together."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.transformer = wan.WanTransformer(CONFIG)
        self.image_encoder = encoders.image_encoder()
        for block in self.transformer.blocks:  # each block starts close to passing its input on
            for last in (block.self_attn.o, block.cross_attn.o, block.ffn[2]):
                last.weight.data *= 0.3
        self.transformer.head.head.weight.data.zero_()
        self.transformer.head.head.bias.data.zero_()

    def forward(self, x, t, text, y, pictures):
        tokens = encoders.image_tokens(self.image_encoder, pictures)
        return self.transformer(x, t, text, y, tokens)


def plain_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """models.common.attention spelled out: on a CPU the backward pass of the fused one takes half of a whole step."""
    weights = torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2), dim=-1, dtype=torch.float32)
    return (weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)


@contextmanager
def unfused_attention():
    fused, wan.attention = wan.attention, plain_attention
    try:
        yield
    finally:
        wan.attention = fused


@dataclass
class Bucket:
    """Every example of one size: what is asked for, what is given. Float16 where it is large."""

    latents: Tensor  # [n, 16, 5, h, w]
    y: Tensor  # [n, 20, 5, h, w]
    weight: Tensor  # [n, 1, 5, h, w]
    pictures: Tensor  # [n, 3, 64, 64]


def grow(pool: dict[tuple, Bucket], files: list[Path], image_encoder: nn.Module) -> None:
    """Adds shards to the pool, which has a bucket a size."""
    parts = {size: [present] for size, present in pool.items()}
    for file in files:
        shard = torch.load(file, weights_only=True)
        parts.setdefault(tuple(shard["size"]), []).append(bucket(shard, image_encoder))
    pool.update({size: join(group) for size, group in parts.items() if len(group) > 1 or size not in pool})


def bucket(shard: dict, image_encoder: nn.Module) -> Bucket:
    width, height = shard["size"]
    y = [
        condition(still, path, visible, width, height)
        for still, (path, visible) in zip(shard["still"], shard["tracks"])
    ]
    return Bucket(
        shard["latents"].half(), torch.stack(y).half(), (1 + (MOVING - 1) * shard["motion"])[:, None].half(),
        encoders.preprocess(image_encoder, shard["first"]).half(),
    )  # fmt: skip


def condition(still: Tensor, path: Tensor, visible: Tensor, width: int, height: int) -> Tensor:
    """[20, 5, h, w]: exactly what WanVideoModel.encode_motion makes."""
    if not path.shape[1]:
        return plain_conditioning(still)
    tracks = normalised(Tracks(path, visible, (width, height)), width, height)
    return motion_patch(tracks, still, temperature=DEFAULTS["temperature"], topk=DEFAULTS["topk"])


def join(parts: list[Bucket]) -> Bucket:
    return Bucket(
        *(torch.cat([getattr(part, name) for part in parts]) for name in ("latents", "y", "weight", "pictures"))
    )


def flow_loss(student, bucket: Bucket, chosen: Tensor, texts: Tensor, generator: torch.Generator) -> Tensor:
    """Weighted squared error of the flow at random noise levels of the schedule with the default shift."""
    x0, y, weight, pictures = (getattr(bucket, name)[chosen].float() for name in ("latents", "y", "weight", "pictures"))
    noise = torch.randn(x0.shape, generator=generator)
    u = (torch.arange(len(x0)) + torch.rand(len(x0), generator=generator)) / len(x0)  # spread evenly over the batch
    sigma = DEFAULTS["shift"] * u / (1 + (DEFAULTS["shift"] - 1) * u)
    text = texts[torch.randint(len(texts), (len(x0),), generator=generator)]
    level = sigma.view(-1, 1, 1, 1, 1)
    with autocast():
        flow = student((1 - level) * x0 + level * noise, sigma * 1000, text, y, pictures).float()
    return ((flow - (noise - x0)) ** 2 * weight).mean()


def train(files: list[Path], texts: Tensor, runs: Path, minutes: float, until: int = 10**9) -> Student:
    """The student with averaged weights; the state in `runs`/ati.pt is taken up where it was left.

    files: shards of the pool; those that come into being meanwhile are taken in as well. until: the last step, where
    the minutes do not end it before.
    """
    with unfused_attention():
        return _train(files, texts, runs, minutes, until)


def _train(files: list[Path], texts: Tensor, runs: Path, minutes: float, until: int) -> Student:
    student = Student()
    average = copy.deepcopy(student).requires_grad_(False)
    both = optimizers(student, MUON_LR, ADAM_LR, plain=NOT_MUON)
    bases = [MUON_LR, ADAM_LR]
    state = {"step": 0, "spent": 0.0}
    file = runs / "ati.pt"
    if file.exists():
        saved = torch.load(file, weights_only=True)
        state = saved["state"]
        student.load_state_dict(saved["student"])
        average.load_state_dict(saved["average"])
        for optimizer, values in zip(both, saved["optimizers"]):
            optimizer.load_state_dict(values)
    generator = torch.Generator().manual_seed(state["step"])
    rng = np.random.default_rng([9, state["step"]])
    missing, pool = list(files), {}
    begun, before, saved_at, recent = time.monotonic(), state["spent"], time.monotonic(), []
    while state["spent"] < minutes and state["step"] < until:
        if not pool or (missing and state["step"] % RELOAD == 0):
            new = [shard for shard in missing if shard.exists()]
            missing = [shard for shard in missing if shard not in new]
            grow(pool, new, student.image_encoder)
            buckets = list(pool.values())
            sizes = np.array([len(bucket.latents) for bucket in buckets])
            log.info("ati: %d clips", sizes.sum())
        for optimizer, base in zip(both, bases):
            optimizer.param_groups[0]["lr"] = base * falling(state["spent"] / minutes)
        chosen = buckets[rng.choice(len(buckets), p=sizes / sizes.sum())]
        loss = flow_loss(
            student, chosen, torch.from_numpy(rng.integers(len(chosen.latents), size=BATCH)), texts, generator
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        for optimizer in both:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        state["step"] += 1
        update_average(average, student, min(EMA, 1 - 10 / (10 + state["step"])))
        state["spent"] = before + (time.monotonic() - begun) / 60
        recent.append(loss.item())
        if state["step"] % 100 == 0:
            log.info("ati step %d %.1f min: loss %.4f", state["step"], state["spent"], np.mean(recent[-100:]))
        if time.monotonic() - saved_at > 120:
            save(file, student, average, both, state)
            saved_at = time.monotonic()
    save(file, student, average, both, state)
    return average


@torch.no_grad()
def update_average(average: nn.Module, student: nn.Module, keep: float) -> None:
    torch._foreach_lerp_(list(average.parameters()), list(student.parameters()), 1 - keep)


def save(file: Path, student, average, both, state) -> None:
    """Atomically, so that a run that is cut off can be taken up."""
    part = file.with_suffix(".part")
    whole = {"student": student.state_dict(), "average": average.state_dict(), "state": state}
    torch.save({**whole, "optimizers": [o.state_dict() for o in both]}, part)
    part.replace(file)
