"""Everything that is measured against the peers, one after another: each part is a script of this folder that also runs
by itself.

    python benchmarks/all.py --threads 1 --comfyui ~/ComfyUI --official-wan Wan2.1 --official-ati ATI \\
        --official-tora Tora --official-easyanimate EasyAnimate
    python benchmarks/all.py --device cuda --dtype bfloat16          # with a GPU: also the full-size models
    python benchmarks/all.py --parts vae ati_patch --quick

Peers without a checkout here are left out; diffusers must be installed. The same weights, sizes and threads, turn by
turn; medians and ratios are printed, and written to benchmarks/results/ with the hardware and versions. --quick: so
small that everything is gone through in some minutes; its figures say little.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
from pathlib import Path

from turns import RESULTS

HERE = Path(__file__).parent
FAMILIES = ("wan", "cogvideox", "easyanimate")
STEPS = {"wan": (1536, 30), "cogvideox": (1536, 12), "easyanimate": (1536, 12)}  # width and blocks on a CPU
FULL = {"wan": (5120, 40), "cogvideox": (3072, 42), "easyanimate": (3072, 48)}  # and on a GPU
PARTS = ("steps", "vae", "ati_patch", "tora_flow", "loading", "full_size")
log = logging.getLogger("benchmarks.all")


def commands(options: argparse.Namespace) -> list[list[str]]:
    """The script and arguments of each part that is asked for and can be had here."""
    official = {"wan": options.official_wan, "cogvideox": None, "easyanimate": options.official_easyanimate}
    on_gpu, results = options.device != "cpu", ["--results", str(options.results)]
    threads = ["--threads", str(options.threads)] if options.threads else []
    where = ["--device", options.device, "--dtype", options.dtype, *threads, *results]
    found: dict[str, list[list[str]]] = {part: [] for part in PARTS}
    for family in FAMILIES:
        peers = ["--official", str(official[family])] if official[family] else []
        peers += ["--comfyui", str(options.comfyui)] if options.comfyui else []
        dim, layers = (FULL if on_gpu else STEPS)[family]
        clip = ["--size", "832x480" if on_gpu else "416x240", "--frames", "81" if on_gpu else "17"]
        if options.quick:
            dim, layers, clip = 256, 2, ["--size", "64x64", "--frames", "5"]
        found["steps"].append(["steps.py", family, "--dim", str(dim), "--layers", str(layers), *clip, *peers, *where])
        clip = ["--size", "832x480", "--frames", "81"] if on_gpu else ["--size", "128x96", "--frames", "9",
                                                                       "--peak-size", "256x128"]  # fmt: skip
        clip = ["--size", "48x48", "--frames", "5"] if options.quick else clip
        for direction in ("decode", "encode"):
            found["vae"].append(["vae.py", family, direction, *clip, *peers, *where])
    runs = ["--runs", "2"] if options.quick else []
    if options.official_ati:
        found["ati_patch"].append(["ati_patch.py", str(options.official_ati), *threads, *runs, *results])
    if options.official_tora:
        found["tora_flow"].append(["tora_flow.py", str(options.official_tora), *threads, *runs, *results])
    small = ["--gigabytes", "0.2"] if options.quick else []
    found["loading"].append(["loading.py", *small, *threads, *runs, *results])
    if on_gpu:
        found["full_size"].append(["gpu.py", "--device", options.device, *results])
    return [command for part in options.parts for command in found[part]]


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, help="(default: torch's own)")
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH") or None)
    for name in ("wan", "ati", "tora", "easyanimate"):
        parser.add_argument(f"--official-{name}", type=Path, help="a checkout of that repository")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    failed = []
    for command in commands(options):
        log.info("\n%s", " ".join(part for part in command if not os.path.isabs(part)))
        if subprocess.run([sys.executable, HERE / command[0], *command[1:]], check=False).returncode:
            failed.append(" ".join(command[:3]))
    for name in failed:
        log.error("failed: %s", name)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
