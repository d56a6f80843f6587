"""`python -m comfyui_trajectory.training`: from photographs to the four embedded files, stage by stage, resumable.

Every stage takes up its own state in training/runs; a stage that has finished is passed over.
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

import torch

from ..models import EMBEDDED, embedded

log = logging.getLogger("training")

RUNS = Path(__file__).parent / "runs"
STAGES = ("photos", "vae", "fold", "pool", "ati", "export", "evaluate")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m comfyui_trajectory.training", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--stage", choices=STAGES, action="append", help="this stage alone (may be repeated); default: all"
    )
    parser.add_argument("--minutes-stills", type=float, default=13, help="of the VAE on single pictures")
    parser.add_argument("--minutes-clips", type=float, default=25, help="of the VAE on clips")
    parser.add_argument("--minutes-ati", type=float, default=90, help="of the transformer")
    parser.add_argument("--shards", type=int, default=96, help="64 clips each, encoded for the transformer")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where states and logs are kept")
    parser.add_argument("--output", type=Path, default=embedded("vae").parent, help="where the four files are written")
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    handlers = [logging.StreamHandler(), logging.FileHandler(options.runs / "training.log")]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers)
    torch.set_num_threads(os.cpu_count() or 1)
    for stage in options.stage or STAGES:
        log.info("stage %s", stage)
        globals()[f"run_{stage}"](options)


def run_photos(options) -> None:
    from . import photos

    log.info("%d photographs, %d held out", len(photos.load(False)), len(photos.load(True)))


def run_vae(options) -> None:
    from . import photos, train_vae

    train_vae.train(photos.load(False), options.runs, options.minutes_stills, options.minutes_clips)


def run_fold(options) -> None:
    from . import gate, photos

    figures = gate.finish(options.runs, photos.load(False), photos.load(True), options.output / EMBEDDED["vae"])
    log.info("held out: stills %(stills).2f dB, clips %(clips).2f dB; colours within %(colour).1f of 255", figures)


def run_pool(options) -> None:
    from . import pool

    pool.make_pool(options.output / EMBEDDED["vae"], options.runs / "pool", options.shards, os.cpu_count() or 1)


def run_ati(options) -> None:
    from ..models import load_text_encoder
    from . import encoders, export, train_ati

    file = options.output / EMBEDDED["text_encoder"]
    export.save_text_encoder(encoders.text_encoder(), encoders.tokenizer(), file)
    texts = encoders.encode_all(load_text_encoder(file), encoders.prompts())
    files = [options.runs / "pool" / f"{number:04d}.pt" for number in range(options.shards)]
    train_ati.train(files, texts, options.runs, options.minutes_ati)


def run_export(options) -> None:
    from ..models.common.checkpoint import open_checkpoint
    from . import export, train_ati

    student = train_ati.Student()
    student.load_state_dict(torch.load(options.runs / "ati.pt", weights_only=True)["average"])
    preview = open_checkpoint(options.output / EMBEDDED["vae"]).config["latent_rgb"]
    file = options.output / EMBEDDED["model"]
    export.save_transformer(student.transformer, train_ati.CONFIG, train_ati.DEFAULTS, preview, file)
    export.save_image_encoder(student.image_encoder, options.output / EMBEDDED["image_encoder"])


def run_evaluate(options) -> None:
    from . import evaluate

    evaluate.main(["--output", str(options.runs / "evaluation")], options.output)


if __name__ == "__main__":
    main()
