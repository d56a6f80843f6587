"""`python -m comfyui_trajectory.training`: from photographs to the embedded files, stage by stage, resumable."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

import torch

from ..models import embedded
from . import stages

RUNS = Path(__file__).parent / "runs"
STEPS = 100_000  # more than the minutes hold
MINUTES = {"stills": (11, 1), "clips": (22, 2), "taught": (10, 1), "transformer": (95, 5)}  # on a CPU, on a GPU
HELP = {
    "stills": "of ATI's VAE on single pictures", "clips": "of ATI's VAE on clips",
    "taught": "at most, of each half of another system's VAE", "transformer": "of it",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m comfyui_trajectory.training", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--system", choices=stages.STAGES, default="ati", help="which of the embedded models (default: ati)"
    )
    parser.add_argument(
        "--stage", choices=sorted({stage for every in stages.STAGES.values() for stage in every}), action="append",
        help="this stage alone (may be repeated); default: all of the system",
    )  # fmt: skip
    for what, (cpu, cuda) in MINUTES.items():
        parser.add_argument(f"--minutes-{what}", type=float, help=f"{HELP[what]} (default: {cpu:g}, on a GPU {cuda:g})")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"at most, of the transformer (default: {STEPS})")
    parser.add_argument("--rate", type=float, default=1.0, help="factor of the transformer's learning rates")
    parser.add_argument("--go-on", action="store_true", help="begin with what the files in OUTPUT have learned")
    parser.add_argument("--shards", type=int, help="64 clips each, for the transformer (default: 112, on a GPU 192)")
    parser.add_argument("--long-shards", type=int, help="32 clips of 49 frames each (default: 0; 64 for Tora)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="that make the clips")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where states and logs are kept")
    parser.add_argument("--output", type=Path, default=embedded("vae").parent, help="where the files are written")
    options = parser.parse_args()
    gpu = options.device == "cuda"
    defaults = {f"minutes_{what}": both[gpu] for what, both in MINUTES.items()}
    defaults.update(shards=192 if gpu else 112, long_shards=64 if options.system == "tora" else 0)
    for name, value in defaults.items():
        setattr(options, name, value if getattr(options, name) is None else getattr(options, name))
    options.runs.mkdir(parents=True, exist_ok=True)
    handlers = [logging.StreamHandler(), logging.FileHandler(options.runs / "training.log")]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers)
    torch.set_num_threads(1 if gpu else os.cpu_count() or 1)
    for stage in options.stage or stages.STAGES[options.system]:
        stages.run(stage, options)


if __name__ == "__main__":
    main()
