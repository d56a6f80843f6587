"""How well the shipped files follow tracks on photographs that training has not seen; no clip is left out.

Goes the way a user goes: load, encode, sample, decode, score. Clips are made by the generator of the training clips
from fixed seeds; the generated video never sees the made one, only its first frame and the tracks that a person would
draw: one on each thing, spread to nine points by the encode node's `expand_points`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..models import (
    EMBEDDED,
    TextConditioning,
    embedded,
    load_image_encoder,
    load_model,
    load_text_encoder,
    load_vae,
    sample,
)
from ..trajectory import Tracks
from ..trajectory.draw import contact_sheet, draw_tracks
from ..trajectory.score import score
from ..trajectory.spread import spread
from . import clips, gate, photos
from .pool import to_tensor

log = logging.getLogger(__name__)

SEED = 31
COUNT = 40
WAYS = ("with", "without", "still", "rebuilt", "truth")


@dataclass
class Models:
    model: object
    vae: object
    image_encoder: object | None
    text: TextConditioning
    sampling: dict

    @classmethod
    def load(cls, folder: Path, system: str, **changes) -> Models:
        """The files of a system in `folder`; changes: of the sampling (steps, cfg, shift, scheduler)."""
        files = {part: folder / name for part, name in EMBEDDED[system].items()}
        model, vae, text = load_model(files["model"]), load_vae(files["vae"]), load_text_encoder(files["text_encoder"])
        image = load_image_encoder(files["image_encoder"]) if "image_encoder" in files else None
        sampling = {name: model.defaults[name] for name in ("steps", "cfg", "shift", "scheduler")}
        prompts = TextConditioning(text.encode("")[None], text.encode("")[None])
        return cls(model, vae, image, prompts, {**sampling, **changes})

    def video(self, image: Tensor, tracks: Tracks | None, size: tuple[int, int], seed: int) -> Tensor:
        """[frames, height, width, 3] in 0..1"""
        tokens = {"image_tokens": self.image_encoder.encode(image)} if self.image_encoder else {}
        motion = self.model.encode_motion(
            tracks, vae=self.vae, image=image, width=size[0], height=size[1], frames=clips.FRAMES, **tokens
        )
        latents = sample(self.model, self.text, motion, seed=seed, **self.sampling)
        return shown(self.vae.decode(latents))


def shown(pixels: Tensor) -> Tensor:
    """The first video of a VAE's pixels: [frames, height, width, 3] in 0..1"""
    return pixels[0].permute(1, 2, 3, 0) / 2 + 0.5


def cases(held_out: dict, count: int):
    """(number, clip, size) of the first `count` seeds whose clip has a moving track: without one nothing can be
    measured."""
    number = found = 0
    while found < count:
        size = clips.SIZES[number % len(clips.SIZES)]
        clip = clips.make_clip(held_out, np.random.default_rng([SEED, number]), size)
        chosen = drawn(clip)
        if (clip.visible[0, chosen] & clip.visible[1:, chosen].any(0)).any():
            found += 1
            yield number, clip, size
        number += 1


def drawn(clip: clips.Clip) -> np.ndarray:
    """The tracks that a person would draw: one on each thing, in its middle; where the camera moves, all the points."""
    first = np.unique(clip.owners, return_index=True)[1]
    return np.arange(len(clip.owners)) if clip.camera else first[clip.owners[first] > 0]


def judge(models: Models, number: int, clip: clips.Clip, size: tuple[int, int]) -> tuple[dict, np.ndarray]:
    """Figures of one clip in percent of the short side over its drawn tracks, and a picture of it."""
    chosen = drawn(clip)
    asked = Tracks(torch.from_numpy(clip.path[:, chosen]), torch.from_numpy(clip.visible[:, chosen]), size)
    points, percent = (1, 0.0) if clip.camera else clips.SPREAD
    tracks = spread(asked, points, min(size) * percent / 100)
    truth = torch.from_numpy(clip.video).float() / 255
    begun = time.monotonic()
    videos = {"with": models.video(truth[:1], tracks, size, number)}
    seconds = time.monotonic() - begun
    videos["without"] = models.video(truth[:1], None, size, number)
    videos["rebuilt"] = shown(gate.rebuild(models.vae, to_tensor(clip.video[None])))  # no transformer
    videos["truth"] = truth
    scores = {way: score(video, asked) for way, video in videos.items()}
    stays = replace(
        asked, path=asked.path[asked.visibility.int().argmax(0), torch.arange(asked.count)].expand_as(asked.path)
    )
    scores["still"] = score(truth, asked, followed=stays)
    row = {way: scores[way].error_percent for way in WAYS}
    row |= {"number": number, "size": size, "tracks": len(chosen), "camera": clip.camera}
    row |= {"acc_05": scores["with"].acc_05, "coverage": scores["with"].coverage, "seconds": seconds}
    return row, sheet(videos, asked)


def begin(folder: Path, system: str, changes: dict, held_out: bool) -> None:
    """Of each process: one thread, the models and the photographs."""
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    begin.models, begin.photos = Models.load(folder, system, **changes), photos.load(held_out)


def judge_share(share: int, shares: int, count: int) -> list:
    chosen = [case for i, case in enumerate(cases(begin.photos, count)) if i % shares == share]
    return [judge(begin.models, *case) for case in chosen]


def evaluate(
    folder: Path, system: str, count: int, output: Path, held_out: bool = True, processes: int = 2, **changes
) -> dict:  # fmt: skip
    """Means over the clips; figures.json and sheets of all of them in `output`. changes: of the sampling."""
    shares = 4 * processes
    with ProcessPoolExecutor(processes, get_context("spawn"), begin, (folder, system, changes, held_out)) as workers:
        running = [workers.submit(judge_share, share, shares, count) for share in range(shares)]
        results = sorted((pair for future in running for pair in future.result()), key=lambda pair: pair[0]["number"])
    rows = [row for row, _ in results]
    means = {way: float(np.mean([row[way] for row in rows])) for way in WAYS}
    means |= {"median": float(np.median([row["with"] for row in rows])), "clips": len(rows)}
    for name in ("acc_05", "coverage", "seconds"):
        means[name] = float(np.mean([row[name] for row in rows]))
    for name, chosen in (
        ("things", [r for r in rows if not r["camera"]]),
        ("camera", [r for r in rows if r["camera"]]),
    ):
        means[name] = float(np.mean([row["with"] for row in chosen])) if chosen else None
    output.mkdir(parents=True, exist_ok=True)
    save_sheets(results, output)
    (output / "figures.json").write_text(json.dumps({"means": means, "clips": rows}, indent=1))
    return means


def sheet(videos: dict[str, Tensor], tracks: Tracks) -> np.ndarray:
    """Two rows: the generated video and the made one, tracks drawn on both."""
    from ..commands.files import enlarge

    rows = []
    for way in ("with", "truth"):
        large = enlarge(videos[way].clamp(0, 1), 180)
        rows.append(contact_sheet((draw_tracks(large, tracks) * 255).byte().numpy(), columns=6, rows=1))
    return np.concatenate(rows)


def save_sheets(sheets: list, output: Path, together: int = 5) -> None:
    """Several clips a picture, in the order of their numbers: none is left out."""
    import cv2

    output.mkdir(parents=True, exist_ok=True)
    for begin in range(0, len(sheets), together):
        group = []
        for row, picture in sheets[begin : begin + together]:
            bar = np.full((22, 1360, 3), 255, np.uint8)
            text = f"clip {row['number']}: with tracks {row['with']:.1f}%  without {row['without']:.1f}%  still {row['still']:.1f}%"
            cv2.putText(bar, text, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
            wide = np.full((picture.shape[0], 1360, 3), 255, np.uint8)
            wide[:, : picture.shape[1]] = picture[:, :1360]
            group += [bar, wide]
        cv2.imwrite(str(output / f"sheet_{begin // together:02d}.png"), np.concatenate(group)[..., ::-1])


def main(arguments: list[str] | None = None, folder: Path | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m comfyui_trajectory.training.evaluate", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--system", choices=EMBEDDED, default="ati", help="which of the embedded models (default: ati)")
    parser.add_argument("--count", type=int, default=COUNT, help="clips")
    parser.add_argument("--models", type=Path, default=folder or embedded("vae").parent, help="folder of the files")
    parser.add_argument(
        "--output", type=Path, default=photos.CACHE.parent / "evaluation", help="for sheets and figures.json"
    )
    parser.add_argument("--steps", type=int)
    parser.add_argument("--scheduler")
    parser.add_argument("--shift", type=float)
    options = parser.parse_args(arguments)
    changes = {
        name: getattr(options, name) for name in ("steps", "scheduler", "shift") if getattr(options, name) is not None
    }
    photos.ensure()
    means = evaluate(
        options.models, options.system, options.count, options.output, processes=os.cpu_count() or 1, **changes
    )
    log.info("mean error, %% of the short side: with tracks %(with).2f, without %(without).2f, standing still %(still).2f, "
             "the made clips through the VAE alone %(rebuilt).2f, as they are %(truth).2f", means)  # fmt: skip
    log.info("%s", json.dumps(means))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
