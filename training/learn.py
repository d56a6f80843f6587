"""The training loop of the small transformers, the same for each system. Resumable; knows no model and no pixels."""

from __future__ import annotations

import copy
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..models.common.attention import use_attention
from ..trajectory import Tracks
from .optim import falling, optimizers, reached
from .processes import in_processes, write
from .replay import Steps

log = logging.getLogger(__name__)

BATCH = {"cpu": 8, "cuda": 32}
SHORT = 5  # latents of a clip of 17 frames
MOVING = 4.0  # weight of the loss where the clip moves
EMA = 0.999
MUON_LR, ADAM_LR = 0.01, 1.5e-3
SAVE = 120  # seconds between two saved states


@dataclass
class Bucket:
    """Every example of one size: what is asked for, what is given. Float16 where it is large.

    latents: [n, 16, f, h, w]; weight: [n, 1, f, h, w] of the loss; given: [n, …] each, by the name of the argument.
    """

    latents: Tensor
    weight: Tensor
    given: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.latents)

    def batch(self, short: int) -> int:
        """How many make a batch, where `short` clips of SHORT latents do."""
        return -(-short * SHORT // self.latents.shape[2])

    def chosen(self, rows: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        return (
            self.latents[rows].float(), self.weight[rows].float(),
            {name: value[rows].float() for name, value in self.given.items()},
        )  # fmt: skip

    @classmethod
    def joined(cls, parts: list[Bucket], device: str) -> Bucket:
        def whole(values: list[Tensor]) -> Tensor:
            return torch.cat(values).to(device)

        given = {name: whole([part.given[name] for part in parts]) for name in parts[0].given}
        return cls(whole([part.latents for part in parts]), whole([part.weight for part in parts]), given)


class System(Protocol):
    """What a system does differently from the others while it learns."""

    name: str
    plain: tuple[str, ...]  # parts of the names of weights that AdamW takes, not Muon

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


def condition(make: Callable[[], System], files: list[Path], folder: Path, processes: int) -> list[Path]:
    """The files in `folder` of what was made of each shard of the pool; those that are missing are made. make: gives
    the system, in each of the processes."""
    made = [folder / file.name for file in files]
    in_processes("conditions", condition_shard, zip(files, made), processes, begin, make)
    return made


def begin(make: Callable[[], System]) -> None:
    begin.system = make()


def condition_shard(file: Path, made: Path) -> None:
    parts = by_tracks(torch.load(file, weights_only=True))
    write(made, [(part["latents"].half(), weights(part), begin.system.given(part)) for part in parts])


def buckets_of(files: list[Path], device: str) -> list[Bucket]:
    """One of each size and length for clips with tracks, and one for those without."""
    parts: dict[tuple, list[Bucket]] = {}
    for file in files:
        for bucket in (Bucket(*part) for part in torch.load(file, weights_only=True)):
            parts.setdefault((bucket.latents.shape[2:], *bucket.given), []).append(bucket)
    return [Bucket.joined(group, device) for group in parts.values()]


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


def compiled(blocks: nn.ModuleList) -> None:
    """The same numbers in three quarters of the time, where there is a C++ compiler."""
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        log.info("no C++ compiler is installed: every step takes a third longer")
        return
    torch._dynamo.config.cache_size_limit = 64  # one entry a block and size
    for block in blocks:
        block.compile(dynamic=False)


def train(
    system: System, files: list[Path], runs: Path, steps: int, *, minutes: float = 0, rate: float = 1.0,
    device: str = "cpu", learned: dict[str, dict] | None = None,
) -> nn.Module:  # fmt: skip
    """The student with averaged weights after `steps`; the state in `runs`/<name>.pt is taken up where it was left.

    files: what `condition` made. minutes: where given, it ends after so many, earlier calls included, its rates fallen
    to nothing, however many steps that was. rate: factor of both learning rates. learned:
    states of parts of the student to begin with.
    """
    student = system.student()
    for name, values in (learned or {}).items():
        getattr(student, name).load_state_dict(values)
    student.to(device)
    average = copy.deepcopy(student).requires_grad_(False)
    both = optimizers(student, MUON_LR, ADAM_LR, plain=system.plain)
    bases = [rate * MUON_LR, rate * ADAM_LR]
    state = {"step": 0, "minutes": 0.0}
    file = runs / f"{system.name}.pt"
    if file.exists():
        saved = torch.load(file, weights_only=True, map_location=device)
        state = saved["state"]
        student.load_state_dict(saved["student"])
        average.load_state_dict(saved["average"])
        for optimizer, values in zip(both, saved["optimizers"]):
            optimizer.load_state_dict(values)
    if device == "cpu":
        use_attention(student, plain_attention)
    compiled(student.blocks)
    generator = torch.Generator() if device == "cpu" else torch.cuda.default_generators[torch.cuda.current_device()]
    generator.manual_seed(state["step"])
    rng = np.random.default_rng([9, state["step"]])
    buckets = buckets_of(files, device)
    sizes = np.array([len(bucket) for bucket in buckets])
    log.info("%s: %d clips", system.name, sizes.sum())
    gradients = Steps(student.parameters())
    begun, before, saved_at, recent = time.monotonic(), state["minutes"], time.monotonic(), []
    while (at := reached(state, steps, minutes)) < steps:
        for optimizer, base in zip(both, bases):
            optimizer.param_groups[0]["lr"] = base * falling((at + 1) / (steps + 1))
        bucket = buckets[rng.choice(len(buckets), p=sizes / sizes.sum())]
        rows = torch.from_numpy(rng.integers(len(bucket), size=bucket.batch(BATCH[device])))
        x0, weight, given = bucket.chosen(rows.to(device))
        work = partial(loss_of_batch, system, student, generator, tuple(given))
        (loss,) = gradients(tuple(given), work, [x0, weight, *given.values()])
        recent.append(loss.clone())
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        for optimizer in both:
            optimizer.step()
        for p in student.parameters():
            p.grad = None
        state["step"] += 1
        update_average(average, student, min(EMA, 1 - 10 / (10 + state["step"])))
        state["minutes"] = before + (time.monotonic() - begun) / 60
        if state["step"] % 100 == 0:
            log.info("%s step %d %.1f min: loss %.4f",
                     system.name, state["step"], state["minutes"], torch.stack(recent[-100:]).mean())  # fmt: skip
            recent = []
        if time.monotonic() - saved_at > SAVE:
            save(file, student, average, both, state)
            saved_at = time.monotonic()
    save(file, student, average, both, state)
    return average


def loss_of_batch(
    system: System, student: nn.Module, generator: torch.Generator, names: tuple[str, ...], x0: Tensor, weight: Tensor,
    *given: Tensor,
) -> tuple[Tensor]:  # fmt: skip
    return (system.loss(student, x0, weight, dict(zip(names, given)), generator),)


@torch.no_grad()
def update_average(average: nn.Module, student: nn.Module, keep: float) -> None:
    torch._foreach_lerp_(list(average.parameters()), list(student.parameters()), 1 - keep)
    for of_average, of_student in zip(average.buffers(), student.buffers()):
        of_average.copy_(of_student)


def save(file: Path, student, average, both, state) -> None:
    whole = {"student": student.state_dict(), "average": average.state_dict(), "state": state}
    write(file, {**whole, "optimizers": [o.state_dict() for o in both]})


def spread_levels(count: int, generator: torch.Generator) -> Tensor:
    """[count] in 0..1 on the generator's device, evenly spread over a batch, each at random in its share."""
    where = {"device": generator.device}
    return (torch.arange(count, **where) + torch.rand(count, generator=generator, **where)) / count


def noise_and_text(x0: Tensor, texts: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Of the shape of x0, and one of the texts for each clip."""
    noise = torch.randn(x0.shape, generator=generator, device=x0.device)
    return noise, texts[torch.randint(len(texts), (len(x0),), generator=generator, device=x0.device)]
