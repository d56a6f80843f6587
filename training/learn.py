"""The training loop of the small transformers, the same for each system. Resumable; knows no model and no pixels."""

from __future__ import annotations

import copy
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..trajectory import Tracks
from .optim import falling, optimizers

log = logging.getLogger(__name__)

BATCH = 8
MOVING = 4.0  # weight of the loss where the clip moves
EMA = 0.999
FIRST, THEN, RELOAD = 24, 8, 500  # new shards of the pool to begin with, and so many more every so many steps
MUON_LR, ADAM_LR = 0.01, 1.5e-3
SAVE = 120  # seconds between two saved states


@dataclass
class Bucket:
    """Every example of one size: what is asked for, what is given. Float16 where it is large.

    latents: [n, 16, 5, h, w]; weight: [n, 1, 5, h, w] of the loss; given: [n, …] each, by the name of the argument.
    """

    latents: Tensor
    weight: Tensor
    given: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.latents)

    def chosen(self, rows: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        return (
            self.latents[rows].float(), self.weight[rows].float(),
            {name: value[rows].float() for name, value in self.given.items()},
        )  # fmt: skip

    @classmethod
    def joined(cls, parts: list[Bucket]) -> Bucket:
        given = {name: torch.cat([part.given[name] for part in parts]) for name in parts[0].given}
        return cls(torch.cat([part.latents for part in parts]), torch.cat([part.weight for part in parts]), given)


Rounds = Sequence[tuple[int, float]]  # steps of each, and the factor of both rates at its start


class System(Protocol):
    """What a system does differently from the others while it learns."""

    name: str
    plain: tuple[str, ...]  # parts of the names of weights that AdamW takes, not Muon
    attention: object  # the module whose `attention` the transformer calls
    rounds: Rounds

    def student(self) -> nn.Module:
        """What is trained: `transformer`, and where there is more, that too; with `blocks`, a list of modules."""

    def given(self, shard: dict) -> dict[str, Tensor]:
        """What conditions each clip of a shard of the pool, made by the code that makes it in use."""

    def loss(self, student: nn.Module, x0: Tensor, weight: Tensor, given: dict, generator: torch.Generator) -> Tensor:
        """Of one batch."""


def weights(shard: dict) -> Tensor:
    """[n, 1, 5, h, w] float16: MOVING where the clip moves, 1 elsewhere."""
    return (1 + (MOVING - 1) * shard["motion"])[:, None].half()


def tracks_of(shard: dict) -> Iterator[Tracks | None]:
    """The tracks of each clip, in pixels of the video; None for those without."""
    for path, visible in shard["tracks"]:
        yield Tracks(path, visible, tuple(shard["size"])) if path.shape[1] else None


def grow(pool: dict[tuple, Bucket], files: list[Path], system: System, kept: Path) -> None:
    """Adds shards to the pool, which has a bucket a size, and another for clips without tracks. kept: a folder for what
    was made of each shard, which may take longer than the training waits when it is taken up."""
    parts = {key: [present] for key, present in pool.items()}
    for file in files:
        made = kept / file.name
        if not made.exists():
            shards = by_tracks(torch.load(file, weights_only=True))
            write(made, [(shard["latents"].half(), weights(shard), system.given(shard)) for shard in shards])
        for bucket in (Bucket(*part) for part in torch.load(made, weights_only=True)):
            parts.setdefault((bucket.latents.shape[-2:], *bucket.given), []).append(bucket)
    pool.update({key: Bucket.joined(group) for key, group in parts.items() if len(group) > 1 or key not in pool})


def by_tracks(shard: dict) -> Iterator[dict]:
    """The clips with tracks, and those without."""
    tracked = torch.tensor([path.shape[1] > 0 for path, _ in shard["tracks"]])
    for rows in (tracked.nonzero()[:, 0], (~tracked).nonzero()[:, 0]):
        if len(rows):
            part = {name: value[rows] for name, value in shard.items() if isinstance(value, Tensor)}
            yield {**part, "tracks": [shard["tracks"][row] for row in rows], "size": shard["size"]}


def plain_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """models.common.attention spelled out: on a CPU the backward pass of the fused one takes half of a whole step."""
    scores = torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2), dim=-1, dtype=torch.float32)
    return (scores.to(v.dtype) @ v).transpose(1, 2).flatten(2)


@contextmanager
def unfused_attention(module):
    fused, module.attention = module.attention, plain_attention
    try:
        yield
    finally:
        module.attention = fused


def compiled(blocks: nn.ModuleList) -> None:
    """The same numbers in three quarters of the time, where there is a C++ compiler."""
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        log.info("no C++ compiler is installed: every step takes a third longer")
        return
    torch._dynamo.config.cache_size_limit = 64  # one entry a block and size
    for block in blocks:
        block.compile(dynamic=False)


def rate_at(step: int, rounds: Rounds) -> float:
    """Factor of the learning rates at a step: in each round it falls from its start to nothing."""
    for steps, start in rounds:
        if step < steps:
            return start * falling((step + 1) / (steps + 1))
        step -= steps
    return 0.0


def train(system: System, files: list[Path], runs: Path, rounds: Rounds | None = None) -> nn.Module:
    """The student with averaged weights after all rounds; the state in `runs`/<name>.pt is taken up where it was left.

    files: shards of the pool; those that come into being meanwhile are taken in as well. rounds: the system's own by
    default.
    """
    with unfused_attention(system.attention):
        return _train(system, files, runs, rounds or system.rounds)


def _train(system: System, files: list[Path], runs: Path, rounds: Rounds) -> nn.Module:
    steps = sum(count for count, _ in rounds)
    student = system.student()
    average = copy.deepcopy(student).requires_grad_(False)
    both = optimizers(student, MUON_LR, ADAM_LR, plain=system.plain)
    bases = [MUON_LR, ADAM_LR]
    state = {"step": 0, "minutes": 0.0}
    file, kept = runs / f"{system.name}.pt", runs / f"{system.name}_pool"
    if file.exists():
        saved = torch.load(file, weights_only=True)
        state = saved["state"]
        student.load_state_dict(saved["student"])
        average.load_state_dict(saved["average"])
        for optimizer, values in zip(both, saved["optimizers"]):
            optimizer.load_state_dict(values)
    compiled(student.blocks)
    generator = torch.Generator().manual_seed(state["step"])
    rng = np.random.default_rng([9, state["step"]])
    kept.mkdir(parents=True, exist_ok=True)
    missing, pool = list(files), {}
    begun, before, saved_at, recent = time.monotonic(), state["minutes"], time.monotonic(), []
    while state["step"] < steps:
        if not pool or (missing and state["step"] % RELOAD == 0):
            there = [shard for shard in missing if shard.exists()]
            new = [shard for shard in there if (kept / shard.name).exists()]
            new += [shard for shard in there if shard not in new][: THEN if pool else FIRST]
            missing = [shard for shard in missing if shard not in new]
            grow(pool, new, system, kept)
            buckets = list(pool.values())
            sizes = np.array([len(bucket) for bucket in buckets])
            log.info("%s: %d clips", system.name, sizes.sum())
        for optimizer, base in zip(both, bases):
            optimizer.param_groups[0]["lr"] = base * rate_at(state["step"], rounds)
        bucket = buckets[rng.choice(len(buckets), p=sizes / sizes.sum())]
        rows = torch.from_numpy(rng.integers(len(bucket), size=BATCH))
        loss = system.loss(student, *bucket.chosen(rows), generator)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        for optimizer in both:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        state["step"] += 1
        update_average(average, student, min(EMA, 1 - 10 / (10 + state["step"])))
        state["minutes"] = before + (time.monotonic() - begun) / 60
        recent.append(loss.item())
        if state["step"] % 100 == 0:
            log.info("%s step %d %.1f min: loss %.4f",
                     system.name, state["step"], state["minutes"], np.mean(recent[-100:]))  # fmt: skip
        if time.monotonic() - saved_at > SAVE:
            save(file, student, average, both, state)
            saved_at = time.monotonic()
    save(file, student, average, both, state)
    return average


@torch.no_grad()
def update_average(average: nn.Module, student: nn.Module, keep: float) -> None:
    torch._foreach_lerp_(list(average.parameters()), list(student.parameters()), 1 - keep)
    for of_average, of_student in zip(average.buffers(), student.buffers()):
        of_average.copy_(of_student)


def save(file: Path, student, average, both, state) -> None:
    whole = {"student": student.state_dict(), "average": average.state_dict(), "state": state}
    write(file, {**whole, "optimizers": [o.state_dict() for o in both]})


def write(file: Path, content) -> None:
    """Atomically, so that a run that is cut off can be taken up."""
    part = file.with_suffix(".part")
    torch.save(content, part)
    part.replace(file)


def spread_levels(count: int, generator: torch.Generator) -> Tensor:
    """[count] in 0..1, evenly spread over a batch, each at random in its share."""
    return (torch.arange(count) + torch.rand(count, generator=generator)) / count
