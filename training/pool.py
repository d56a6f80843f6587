"""The clips that the transformer learns from, encoded once by the finished VAE. Knows no transformer.

A shard holds clips of one size, four of each first frame. Shards are made one by one, each from its own seed, by as
many processes as wanted; what is there already is not made again, so the pool can be stopped, taken up and enlarged.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import clips, photos
from .precision import autocast
from .processes import in_processes, write
from .shallow import pass_over_idle

SCENES, TAKES = 16, 4  # of a shard: first frames, and clips of each, which share its encoding
LONG = 10000  # the number of the first shard of long clips
LONG_FRAMES, LONG_SCENES = 49, 8
SEED = 21
SHOWN = 48  # of the first shards, the square ones keep their pictures, for whoever learns to make latents of them
SHOWN_LONG = 24  # of the long ones: their first seconds


def files_of(folder: Path, shards: int, long: int) -> list[Path]:
    """Of `shards` shards of short clips and `long` of long ones."""
    return [folder / f"{number:04d}.pt" for number in (*range(shards), *range(LONG, LONG + long))]


def make_pool(vae_file: Path, files: list[Path], processes: int = 2, device: str = "cpu") -> None:
    """Makes those of the files (`files_of`) that are missing."""
    numbered = [(int(file.stem), file) for file in files]
    in_processes("pool", make_shard, numbered, processes, begin, str(vae_file), device, first=photos.ensure)


def begin(vae_file: str, device: str) -> None:
    """Of each process: the VAE and the photographs."""
    from ..models import load_vae

    begin.vae, begin.photos = load_vae(vae_file, dtype="fp32", device=device), photos.load(False)
    pass_over_idle(begin.vae.module)


def size_of(number: int) -> tuple[int, int]:
    """(width, height) of the clips of a shard; long ones are square."""
    return clips.SIZES[0 if number >= LONG else number % len(clips.SIZES)]


def shown(number: int) -> bool:
    """Whether a shard keeps the pictures of its clips, the first FRAMES of each."""
    width, height = size_of(number)
    return width == height and (number < SHOWN or LONG <= number < LONG + SHOWN_LONG)


def made(pictures: dict[str, np.ndarray], number: int):
    """The clips of a shard, TAKES at a time that share their first frame."""
    long = number >= LONG
    for i in range(LONG_SCENES if long else SCENES):
        rng = np.random.default_rng([SEED, number, i])
        scene = clips.make_scene(pictures, rng, size_of(number), clips.LONG if long else clips.TAUGHT)
        yield [clips.animate(scene, rng, LONG_FRAMES if long else clips.FRAMES) for _ in range(TAKES)]


def make_shard(number: int, file: Path) -> None:
    scenes = list(made(begin.photos, number))
    examples = encode(begin.vae, scenes)
    whole = {
        name: torch.stack([example[name] for example in examples]) for name in ("latents", "still", "motion", "first")
    }
    whole["tracks"] = [example["tracks"] for example in examples]
    whole["size"] = size_of(number)
    if shown(number):
        whole["video"] = torch.from_numpy(np.stack([clip.video[: clips.FRAMES] for takes in scenes for clip in takes]))
    write(file, whole)


def encode(vae, scenes: list[list[clips.Clip]]) -> list[dict]:
    """The clips of some scenes; those of one share their first frame. latents: of the clip; still: of its first frame
    followed by grey, as the model is conditioned, both [16, 5, h, w]; motion: share of each latent position that moves,
    [5, h, w]; first: the first frame, uint8 [height, width, 3]; tracks: path and visibility."""
    videos = []
    for takes in scenes:
        pixels = to_tensor(np.stack([takes[0].video, *(clip.video for clip in takes)]))
        pixels[0, :, 1:] = 0
        videos.append(pixels)
    pixels = torch.cat(videos).contiguous(memory_format=torch.channels_last_3d)  # much faster this way
    made = encoded(vae, pixels, pixels.shape[2] - 1).cpu().split([len(video) for video in videos])
    return [
        {"latents": of_clip, "still": of_scene[0], "motion": coarse(clip.motion),
         "first": torch.from_numpy(clip.video[0]),
         "tracks": (torch.from_numpy(clip.path), torch.from_numpy(clip.visible))}
        for takes, of_scene in zip(scenes, made) for clip, of_clip in zip(takes, of_scene[1:])
    ]  # fmt: skip


@torch.no_grad()
def encoded(vae, pixels: Tensor, *chunk: int) -> Tensor:
    """Normalised latents, on the VAE's device, of pixels [batch, 3, frames, height, width] in -1..1; a GPU takes many
    clips at once. chunk: as the VAE's module takes it."""
    at_once = 32 if vae.device.type != "cpu" else 16 if pixels.shape[2] == 1 else 5
    with autocast(vae.device):
        plain = [vae.module.encode(part.to(vae.device), *chunk).float() for part in pixels.split(at_once)]
    return vae.latent_format.from_plain(torch.cat(plain))


def to_tensor(video: np.ndarray | Tensor) -> Tensor:
    """uint8 [batch, frames, height, width, 3] -> [batch, 3, frames, height, width] in -1..1"""
    return torch.as_tensor(video).permute(0, 4, 1, 2, 3).float().div_(127.5).sub_(1)


def coarse(motion: np.ndarray) -> Tensor:
    """[frames, height, width] of the video -> the largest at each position of its latents."""
    motion = torch.from_numpy(motion)[None, None]
    later = F.max_pool3d(motion[:, :, 1:], (4, 8, 8))
    return torch.cat([F.max_pool3d(motion[:, :, :1], (1, 8, 8)), later], dim=2)[0, 0]
