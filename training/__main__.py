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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m comfyui_trajectory.training", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--system", choices=stages.STAGES, default="ati", help="which of the embedded models (default: ati)"
    )
    parser.add_argument(
        "--stage", choices=sorted({stage for every in stages.STAGES.values() for stage in every}), action="append",
        help="this stage alone (may be repeated); default: all of the system",
    )  # fmt: skip
    parser.add_argument("--minutes-stills", type=float, default=13, help="of ATI's VAE on single pictures")
    parser.add_argument("--minutes-clips", type=float, default=25, help="of ATI's VAE on clips")
    parser.add_argument(
        "--minutes-taught", type=float, default=0, help="at most, of each half of another system's VAE (default: any)"
    )
    parser.add_argument("--minutes-transformer", type=float, default=0, help="at most, of it (default: any)")
    parser.add_argument("--steps", type=int, default=0, help="of the transformer (default: the system's own)")
    parser.add_argument("--go-on", action="store_true", help="begin with what the files in OUTPUT have learned")
    parser.add_argument("--shards", type=int, default=96, help="64 clips each, encoded for the transformer")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="that make the clips")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where states and logs are kept")
    parser.add_argument("--output", type=Path, default=embedded("vae").parent, help="where the files are written")
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    handlers = [logging.StreamHandler(), logging.FileHandler(options.runs / "training.log")]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers)
    torch.set_num_threads(1 if options.device == "cuda" else os.cpu_count() or 1)
    for stage in options.stage or stages.STAGES[options.system]:
        stages.run(stage, options)


if __name__ == "__main__":
    main()
