"""Loading a diffusion model against just reading its file, and the peak of memory against the file's size.

    python benchmarks/loading.py [--gigabytes 4] [--dtypes bf16 fp8_e4m3fn fp32] [--runs 3]

A synthetic checkpoint is written and read once, so that it is in the system's cache if memory allows; then it is read
and loaded turn by turn, each in a fresh process, since a process that has loaded it once maps it faster. Before, the
process loads a file of 50 MB: what libraries do when they are first used does not grow with the file. On a CPU weights
stay mapped from the file; loading looks at each of them (for NaN), so that all of them are read.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from turns import RESULTS, in_a_process, write

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "models"))

from peak_memory import NAMES, measure, write_checkpoint

PIECE = 1 << 26  # bytes read at once
log = logging.getLogger("benchmarks.loading")


def read(path: Path) -> dict[str, float]:
    buffer = bytearray(PIECE)
    start, cpu = time.perf_counter(), time.process_time()
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - cpu}


def load(path: Path) -> dict[str, float]:
    measure(path.with_name("small.safetensors"))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    start, cpu = time.perf_counter(), time.process_time()
    size, peak = measure(path)
    return {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - cpu, "peak": peak / size}


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--dtypes", nargs="+", choices=NAMES, default=["bf16", "fp8_e4m3fn", "fp32"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only", nargs=2, metavar=("WHAT", "FILE"), help="reads or loads a file, and tells as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.only:
        told = {"read": read, "load": load}[options.only[0]](Path(options.only[1]))
        sys.stdout.write(json.dumps(told) + "\n")
        return
    rows = {}
    for dtype in options.dtypes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "synthetic.safetensors"
            write_checkpoint(path, options.gigabytes, dtype)
            write_checkpoint(path.with_name("small.safetensors"), 0.05, dtype)
            read(path)
            told = {"read": [], "load": []}
            for _ in range(options.runs):
                for what, times in told.items():
                    given = ("--threads", str(options.threads), "--only", what, str(path))
                    times.append(in_a_process("loading.py", *given))
        rows[dtype] = {
            f"{what}_{unit}": statistics.median(row[unit] for row in times)
            for what, times in told.items() for unit in ("seconds", "processor_seconds")
        } | {"peak_of_size": max(row["peak"] for row in told["load"])}  # fmt: skip
        row = rows[dtype]
        for what in ("read", "load"):
            seconds = row[f"{what}_seconds"], row[f"{what}_processor_seconds"]
            log.info("%-11s %s %6.2f s   processor %5.2f s", dtype, what, *seconds)
        ratio = row["load_seconds"] / row["read_seconds"]
        log.info("%-11s %.2f times reading   peak %.2f of the size", dtype, ratio, row["peak_of_size"])
    write(options.results, "loading", options, rows)


if __name__ == "__main__":
    main()
