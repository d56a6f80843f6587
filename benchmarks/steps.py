"""One step of a transformer, by this pack and by its peers: same weights, sizes and threads, turn by turn.

    python benchmarks/steps.py wan --dim 1536 --layers 30 --size 416x240 --frames 17
    COMFYUI_PATH=~/ComfyUI python benchmarks/steps.py wan --official ATI
    python benchmarks/steps.py cogvideox --dim 1536 --layers 8
    python benchmarks/steps.py wan --device cuda --dtype bfloat16 --dim 5120 --layers 40 --size 832x480 --frames 81

Peers: diffusers; for Wan also ComfyUI's core ($COMFYUI_PATH) and the official code (a checkout of Wan-Video/Wan2.1 or
bytedance/ATI). 'ours' is a step after the first of a run: what belongs to the prompt is kept by then, as in
the sampler.
Prints medians, ratios to the fastest peer and the largest difference; writes them to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import time
from pathlib import Path

import torch
from peers import FAMILIES

log = logging.getLogger("benchmarks.steps")


def hardware() -> dict:
    name = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": name or platform.processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
            "gpu": gpu, "load": os.getloadavg()[0], "torch": torch.__version__,
            "python": platform.python_version()}  # fmt: skip


def timed(work) -> tuple[float, float, torch.Tensor]:
    """(seconds of the clock, seconds of processor time, result)"""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start, cpu = time.perf_counter(), time.process_time()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, time.process_time() - cpu, result


@torch.no_grad()
def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--dim", type=int, default=1536)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--size", default="416x240", help="pixels, WxH")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--peers", nargs="+", metavar="NAME", help="only these, such as diffusers official")
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH") or None)
    parser.add_argument("--official", type=Path)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    torch.set_default_device(options.device)
    torch.set_default_dtype(getattr(torch, options.dtype))
    width, height = (int(side) // 8 for side in options.size.split("x"))
    comfyui = Path(options.comfyui) if options.comfyui else None
    latent = (options.frames - 1) // 4 + 1
    case = FAMILIES[options.family](options.dim, options.layers, latent, height, width, comfyui, options.official)

    if options.peers:
        case.peers = {name: work for name, work in case.peers.items() if name in ("ours", *options.peers)}
    results: dict[str, torch.Tensor] = {}
    clock: dict[str, list[float]] = {name: [] for name in case.peers}
    processor: dict[str, list[float]] = {name: [] for name in case.peers}
    for _ in range(options.runs):
        for name, work in case.peers.items():
            seconds, spent, results[name] = timed(work)
            clock[name].append(seconds)
            processor[name].append(spent)
    differences = {name: (result - results["ours"]).abs().max().item() for name, result in results.items()}
    ours = statistics.median(processor["ours"] if options.device == "cpu" else clock["ours"])
    rows = {}
    for name in case.peers:
        row = {"seconds": statistics.median(clock[name]), "processor_seconds": statistics.median(processor[name]),
               "largest_difference": differences[name]}  # fmt: skip
        row["ratio"] = (row["processor_seconds"] if options.device == "cpu" else row["seconds"]) / ours
        rows[name] = row
        log.info("%-13s %8.3f s   processor %8.3f s   %5.2f times ours   differs by at most %.1e",
                 name, row["seconds"], row["processor_seconds"], row["ratio"], row["largest_difference"])  # fmt: skip
    best = min(row["ratio"] for name, row in rows.items() if name != "ours")
    log.info("ours is %.2f times as fast as the best of the others", best)
    given = {name: str(value) for name, value in vars(options).items()
             if name not in ("results", "comfyui", "official")}  # fmt: skip
    options.results.mkdir(exist_ok=True)
    file = options.results / f"step_{options.family}_{options.device}.json"
    file.write_text(json.dumps({"given": given, "hardware": hardware(), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
