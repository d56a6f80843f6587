"""`python -m comfyui_trajectory.training`: from photographs to the embedded files, stage by stage, resumable."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

import torch

from ..models import embedded
from . import precision, stages, train_ati

RUNS = Path(__file__).parent / "runs"
STEPS = 100_000  # more than the minutes hold
LONG_SHARDS = {"tora": 64}
BY_DEVICE = {  # defaults on a CPU and on a GPU, and what they are of
    "minutes-shallow": (8.0, 0.0, "of ATI's VAE without its residual blocks, first"),
    "minutes-stills": (6.0, 0.8, "of ATI's VAE on single pictures"),
    "minutes-clips": (14.0, 1.7, "of ATI's VAE on clips"),
    "minutes-taught": (10.0, 1.0, "at most, of each half of another system's VAE"),
    "minutes-transformer": (105.0, 4.5, "of it"),
    "shards": (128, 192, "64 clips each, for the transformer"),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m comfyui_trajectory.training", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--system", choices=stages.STAGES, default="ati", help="which of the embedded models (default: ati)"
    )
    parser.add_argument(
        "--stage", choices=sorted({stage for every in stages.STAGES.values() for stage in every}), action="append",
        help="this stage alone (may be repeated); default: all of the system",
    )  # fmt: skip
    for name, (cpu, gpu, what) in BY_DEVICE.items():
        parser.add_argument(f"--{name}", type=type(cpu), help=f"{what} (default: {cpu:g}, on a GPU {gpu:g})")
    parser.add_argument(
        "--size", choices=train_ati.CONFIGS,
        help="of ATI's transformer that begins from nothing (default: large on a GPU or with bfloat16, else small)",
    )  # fmt: skip
    parser.add_argument("--steps", type=int, default=STEPS, help=f"at most, of the transformer (default: {STEPS})")
    parser.add_argument("--rate", type=float, default=1.0, help="factor of the transformer's learning rates")
    parser.add_argument("--go-on", action="store_true", help="begin with what the files in OUTPUT have learned")
    parser.add_argument("--long-shards", type=int, help="32 clips of 49 frames each (default: 64 for Tora, else none)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="that make the clips")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where states and logs are kept")
    parser.add_argument("--output", type=Path, default=embedded("vae").parent, help="where the files are written")
    options = parser.parse_args()
    if options.size and (options.go_on or options.system != "ati"):
        parser.error("--size is for ATI from nothing; --go-on and the other systems have the size of ATI's file in OUTPUT")
    on_gpu = options.device == "cuda"
    defaults = {name.replace("-", "_"): both[on_gpu] for name, both in BY_DEVICE.items()}
    fast = on_gpu or precision.has_bfloat16()
    defaults |= {"long_shards": LONG_SHARDS.get(options.system, 0), "size": "large" if fast else "small"}
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    options.runs.mkdir(parents=True, exist_ok=True)
    handlers = [logging.StreamHandler(), logging.FileHandler(options.runs / "training.log")]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers)
    torch.set_num_threads(1 if on_gpu else os.cpu_count() or 1)
    for stage in options.stage or stages.STAGES[options.system]:
        stages.run(stage, options)


if __name__ == "__main__":
    main()
