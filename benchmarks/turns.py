"""How everything here is measured: several programs that do the same, turn by turn, and the peak of memory of each in a
process of its own. Knows nothing of what is measured.

On a CPU the ratios are of processor time, since the clock also counts what other programs do.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib.metadata
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

RESULTS = Path(__file__).parent / "results"
MIB = 2**20
log = logging.getLogger("benchmarks")


def hardware() -> dict:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": name or platform.processor(), "instructions": torch.backends.cpu.get_cpu_capability(),
            "cores": os.cpu_count(), "threads": torch.get_num_threads(), "gpu": gpu, "load": os.getloadavg()[0],
            "torch": torch.__version__, "diffusers": version("diffusers"),
            "python": platform.python_version()}  # fmt: skip


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions(folders: dict[str, Path | None]) -> dict[str, str]:
    """The commit of each checkout, or what it calls its version; nothing of where it lies."""
    found = {}
    for name, folder in folders.items():
        if folder is None:
            continue
        told = subprocess.run(["git", "-C", folder, "rev-parse", "--short", "HEAD"], check=False,
                              capture_output=True, text=True)  # fmt: skip
        stated = Path(folder) / "comfyui_version.py"
        number = stated.read_text("utf-8").split('"')[1] if stated.is_file() else ""
        found[name] = " ".join(filter(None, (number, told.stdout.strip()))) or "unknown"
    return found


def timed(work: Callable[[], Tensor]) -> tuple[float, float, Tensor]:
    """(seconds of the clock, seconds of processor time, result)"""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start, cpu = time.perf_counter(), time.process_time()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, time.process_time() - cpu, result


def in_turns(works: dict[str, Callable[[], Tensor]], runs: int, device: str = "cpu", within=None) -> dict[str, dict]:
    """Each of `works` once, then each a second time, and so on `runs` times. -> for each its medians in seconds, the
    ratio to 'ours' (of processor time on a CPU), and by how much its result differs from ours at most. within: (least,
    most), what results are clamped to for that, as some of them are."""
    results: dict[str, Tensor] = {}
    clock: dict[str, list[float]] = {name: [] for name in works}
    processor: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(runs):
        for name, work in works.items():
            seconds, spent, results[name] = timed(work)
            clock[name].append(seconds)
            processor[name].append(spent)
    if within:
        results = {name: result.clamp(*within) for name, result in results.items()}
    rows = {
        name: {"seconds": statistics.median(clock[name]), "processor_seconds": statistics.median(processor[name]),
               "largest_difference": (results[name] - results["ours"]).abs().max().item()}
        for name in works
    }  # fmt: skip
    unit = "processor_seconds" if device == "cpu" else "seconds"
    for row in rows.values():
        row["ratio"] = row[unit] / rows["ours"][unit]
    return rows


def resident(entry: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process in MiB. Linux only. Not getrusage, whose peak is inherited."""
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(entry)) / 1024


def peak_of(work: Callable[[], object]) -> dict[str, float]:
    """Runs `work` once in this process, which should have done nothing else. -> MiB: peak_mib of the whole process
    while it ran, work_mib above what was resident before (the weights and Python). On a GPU: of its allocator."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        peak = torch.cuda.max_memory_allocated()
        return {"peak_mib": peak / MIB, "work_mib": (peak - before) / MIB}
    ctypes.CDLL(None).malloc_trim(0)  # what building the weights has left over
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is resident now
    before = resident("VmRSS")
    work()
    peak = resident("VmHWM")
    return {"peak_mib": peak, "work_mib": peak - before}


def in_a_process(script: str, *arguments: str) -> dict:
    """Runs a script of this folder in a fresh Python; what it says last is JSON. glibc is told to give back what is
    freed: else a process keeps what the next tensor does not fit, more or less of it as chance has it."""
    told = subprocess.run(
        [sys.executable, Path(__file__).with_name(script), *arguments], check=True, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},
    )  # fmt: skip
    return json.loads(told.stdout.splitlines()[-1])


def say(rows: dict[str, dict]) -> None:
    for name, row in rows.items():
        parts = [f"{name:<14}"]
        if "seconds" in row:
            parts.append(
                f"{row['seconds']:8.3f} s   processor {row['processor_seconds']:8.3f} s   "
                f"{row['ratio']:5.2f} times ours   differs by at most {row['largest_difference']:.1e}"
            )
        if "peak_mib" in row:
            parts.append(f"peak {row['peak_mib']:6.0f} MiB, of them {row['work_mib']:6.0f} beside the weights")
        log.info("   ".join(parts))
    others = [row for name, row in rows.items() if name != "ours"]
    if others and all("ratio" in row for row in others):
        log.info("ours is %.2f times as fast as the best of the others", min(row["ratio"] for row in others))
    if others and all("peak_mib" in row for row in (*others, rows["ours"])):
        for what, of in (("peak_mib", "the process' peak"), ("work_mib", "what is beside the weights")):
            log.info("ours takes %.2f of the best of the others: %s",
                     rows["ours"][what] / min(row[what] for row in others), of)  # fmt: skip


def write(folder: Path, name: str, options: argparse.Namespace, rows: dict, checkouts: dict | None = None) -> None:
    """One result as a file, without the paths of this machine."""
    given = {key: str(value) for key, value in vars(options).items() if not isinstance(value, Path)}
    for path in ("comfyui", "results", "only"):
        given.pop(path, None)
    folder.mkdir(exist_ok=True)
    content = {"given": given, "hardware": hardware() | (checkouts or {}), "rows": rows}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


def add_common(parser: argparse.ArgumentParser, size: str, frames: int, runs: int = 3) -> None:
    """The options that the scripts share."""
    parser.add_argument("--size", default=size, help="pixels, WxH")
    parser.add_argument("--frames", type=int, default=frames)
    parser.add_argument("--runs", type=int, default=runs)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--peers", nargs="+", metavar="NAME", help="only these, such as diffusers official")
    parser.add_argument("--comfyui", type=Path, default=os.environ.get("COMFYUI_PATH") or None)
    parser.add_argument("--official", type=Path, help="a checkout of the system's own code")
    parser.add_argument("--results", type=Path, default=RESULTS)
