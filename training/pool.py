"""The clips that the transformer learns from, encoded once by the finished VAE. Knows no transformer.

A shard holds 64 clips of one size, four of each first frame. Shards are made one by one, each from its own seed, by as
many processes as wanted; what is there already is not made again, so the pool can be stopped, taken up and enlarged.
"""

from __future__ import annotations

import logging
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import clips, photos
from .precision import autocast

log = logging.getLogger(__name__)

SCENES, TAKES = 16, 4  # of a shard: first frames, and clips of each, which share its encoding
SEED = 21


def make_pool(vae_file: Path, folder: Path, shards: int, processes: int = 2, held_out: bool = False) -> list[Path]:
    """The files of `shards` shards in `folder`; those that are missing are made."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:04d}.pt" for number in range(shards)]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    if not missing:
        return files
    photos.load(held_out)  # fetched once, before the processes ask for them
    with ProcessPoolExecutor(processes, get_context("spawn"), begin, (str(vae_file), held_out)) as workers:
        running = {workers.submit(make_shard, number, files[number]): number for number in missing}
        for done, future in enumerate(as_completed(running), 1):
            future.result()
            log.info("pool: %d of %d shards", len(files) - len(missing) + done, len(files))
    return files


def begin(vae_file: str, held_out: bool) -> None:
    """Of each process: one thread, the VAE and the photographs."""
    import cv2

    from ..models import load_vae

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    begin.vae, begin.photos = load_vae(vae_file), photos.load(held_out)


def size_of(number: int) -> tuple[int, int]:
    """(width, height) of the clips of a shard."""
    return clips.SIZES[number % len(clips.SIZES)]


def made(pictures: dict[str, np.ndarray], number: int):
    """The clips of a shard, TAKES at a time that share their first frame."""
    for i in range(SCENES):
        rng = np.random.default_rng([SEED, number, i])
        scene = clips.make_scene(pictures, rng, size_of(number), clips.TAUGHT)
        yield [clips.animate(scene, rng) for _ in range(TAKES)]


def make_shard(number: int, file: Path) -> None:
    examples = [example for takes in made(begin.photos, number) for example in encode(begin.vae, takes)]
    whole = {
        name: torch.stack([example[name] for example in examples]) for name in ("latents", "still", "motion", "first")
    }
    whole["tracks"] = [example["tracks"] for example in examples]
    whole["size"] = size_of(number)
    part = file.with_suffix(".part")
    torch.save(whole, part)
    part.replace(file)


def encode(vae, takes: list[clips.Clip]) -> list[dict]:
    """Clips that share their first frame. latents: of the clip; still: of its first frame followed by grey, as the
    model is conditioned, both [16, 5, h, w]; motion: share of each latent position that moves, [5, h, w]; first: the
    first frame, uint8 [height, width, 3]; tracks: path and visibility."""
    videos = [torch.from_numpy(clip.video).permute(3, 0, 1, 2).float().div(127.5).sub(1) for clip in takes]
    start = torch.cat([videos[0][:, :1], torch.zeros_like(videos[0][:, 1:])], dim=1)
    with torch.no_grad(), autocast():
        pixels = torch.stack([start, *videos]).contiguous(memory_format=torch.channels_last_3d)  # much faster this way
        plain = vae.module.encode(pixels, chunk=start.shape[1] - 1).float()
    still, *latents = vae.latent_format.from_plain(plain)
    return [
        {"latents": of_clip, "still": still, "motion": coarse(clip.motion), "first": torch.from_numpy(clip.video[0]),
         "tracks": (torch.from_numpy(clip.path), torch.from_numpy(clip.visible))}
        for clip, of_clip in zip(takes, latents)
    ]  # fmt: skip


def coarse(motion: np.ndarray) -> Tensor:
    """[frames, height, width] of the video -> the largest at each position of its latents."""
    motion = torch.from_numpy(motion)[None, None]
    later = F.max_pool3d(motion[:, :, 1:], (4, 8, 8))
    return torch.cat([F.max_pool3d(motion[:, :, :1], (1, 8, 8)), later], dim=2)[0, 0]
