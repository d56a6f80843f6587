"""Measures how much memory loading a diffusion model takes: writes a synthetic Wan checkpoint, loads it (after a small
one), tells the peak.

python tests/models/peak_memory.py 4.0 bf16     (gigabytes of the file, dtype of its weights; Linux)
"""

from __future__ import annotations

import gc
import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from comfyui_trajectory.models import load_model
from comfyui_trajectory.models.wan.config import WanConfig
from comfyui_trajectory.models.wan.transformer import WanTransformer

NAMES = {"fp32": ("F32", 4), "bf16": ("BF16", 2), "fp8_e4m3fn": ("F8_E4M3", 1)}
MIB = 2**20


def write_checkpoint(path: Path, gigabytes: float, dtype: str) -> None:
    """A text-to-video transformer of about that size, written piece by piece."""
    name, width = NAMES[dtype]
    dim = 1024 if gigabytes < 1 else 2048
    layer = (8 * dim * dim + 2 * dim * 4 * dim) * width
    config = WanConfig("t2v", dim, 4 * dim, dim // 128, max(1, round(gigabytes * 1e9 / layer)), in_dim=16)
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in WanTransformer(config).state_dict().items()}
    header, offset = {}, 0
    for key, shape in shapes.items():
        size = torch.Size(shape).numel() * width
        header[key] = {"dtype": name, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pattern = bytes(range(32, 48)) * 65536  # small positive numbers in every dtype
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for start in range(0, offset, len(pattern)):
            file.write(pattern[: offset - start])


def measure(path: Path) -> tuple[float, float]:
    """(size of the file, growth of the peak resident memory while loading), in MiB."""
    before = resident("VmRSS")
    model = load_model(path)
    assert model.config.in_dim == 16
    return path.stat().st_size / MIB, resident("VmHWM") - before


CLEAR = Path("/proc/self/clear_refs")
needs_linux = pytest.mark.skipif(not CLEAR.exists(), reason="the peak of memory is read from Linux's /proc")


def growth(work: Callable[[], object]) -> int:
    """Bytes by which `work` raises the peak of resident memory. What libraries keep from their first use on should have
    come before."""
    gc.collect()
    CLEAR.write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    work()
    return round((resident("VmHWM") - before) * MIB)


def in_a_process(script: str, *arguments: object) -> int:
    """The number that a Python script prints, which may import this file. glibc keeps what is freed below its threshold,
    for itself and in odd pieces; here it gives it back at once."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parent, env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
    )  # fmt: skip
    return int(done.stdout)


def resident(entry: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process in MiB. Not getrusage, whose peak is inherited from the parent."""
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(entry)) / 1024


def main(gigabytes: float, dtype: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        small, path = Path(folder) / "small.safetensors", Path(folder) / "synthetic.safetensors"
        write_checkpoint(small, 0.05, dtype)
        write_checkpoint(path, gigabytes, dtype)
        measure(small)  # what libraries keep from their first use on does not grow with the file
        CLEAR.write_text("5")  # the peak begins anew
        size, peak = measure(path)
    sys.stdout.write(
        json.dumps({"file_mib": round(size), "peak_mib": round(peak), "ratio": round(peak / size, 4)}) + "\n"
    )


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "bf16")
