"""A step of the full-size models on a GPU: held whole, in fp8, and as a card of 8, 12, 16 or 24 GB would hold them.

    python benchmarks/gpu.py [--models wan_14b tora_5b easyanimate_7b easyanimate_12b] [--limits 24 16 12 8]
        [--seconds 210] [--results FOLDER]

Weights are random and made where they are used: there is no file. Under a limit torch may not take more memory than
such a card has beside its context, and the model is held by the options that `info` suggests for it. Of each row:
seconds a step (one half of the guidance), the peak of torch's allocator, what was predicted, and how much of the
arithmetic that the GPU does in one large product of matrices, or of its way from the host, the step makes use of.

A process for each model; what it measures is written at once. Rows stand in the order of their weight, and what the time
is not enough for is named as not run. `--device cpu --models tiny` goes through the same code anywhere.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import queue
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import torch
from ceilings import ceilings
from comfyui_trajectory.models.cogvideox.config import CogVideoXConfig
from comfyui_trajectory.models.cogvideox.transformer import CogVideoXTransformer
from comfyui_trajectory.models.common.checkpoint import Checkpoint
from comfyui_trajectory.models.common.memory import Memory, measure, suggestions
from comfyui_trajectory.models.common.options import Options
from comfyui_trajectory.models.common.registry import identify
from comfyui_trajectory.models.easyanimate.config import EasyAnimateConfig
from comfyui_trajectory.models.easyanimate.transformer import EasyAnimateTransformer
from comfyui_trajectory.models.wan.config import WanConfig
from comfyui_trajectory.models.wan.transformer import WanTransformer
from torch.utils.flop_counter import FlopCounterMode
from turns import MIB, RESULTS, peak_of, resident, timed, write

MODELS = {
    "wan_14b": (WanTransformer, WanConfig()),
    "tora_5b": (
        CogVideoXTransformer, CogVideoXConfig(num_attention_heads=48, num_layers=42, traj_extractor_channels=128),
    ),
    "easyanimate_7b": (EasyAnimateTransformer, EasyAnimateConfig(in_channels=48, num_layers=36, mmdit_layers=18)),
    "easyanimate_12b": (EasyAnimateTransformer, EasyAnimateConfig(in_channels=48)),
    "tiny": (WanTransformer, WanConfig(dim=256, ffn_dim=512, num_heads=2, num_layers=4)),
}  # fmt: skip
# The clip of each (width, height, frames), and the share of the time.
SIZES = {
    "wan_14b": (832, 480, 81), "tora_5b": (720, 480, 49), "easyanimate_7b": (672, 384, 49),
    "easyanimate_12b": (672, 384, 49), "tiny": (64, 64, 9),
}  # fmt: skip
SHARES = {"wan_14b": 2.5}
STORAGES = {"bf16": "bf16", "fp8": "fp8_e4m3fn"}
CONTEXT = 0.5e9  # bytes of a card that torch never gets
SCALE = 0.02  # standard deviation of the weights
TALK = "row "  # how a line begins by which a process tells a row
log = logging.getLogger("benchmarks.gpu")


# Models without files


def hollow(name: str, storage: str, device: str = "cuda"):
    """The model as it is held after loading, its tensors without contents."""
    build, config = MODELS[name]
    with torch.device("meta"):
        tensors = {key: value.bfloat16() for key, value in build(config).state_dict().items()}
    stated = {} if "easyanimate" in name else {"config": json.dumps(asdict(config))}
    checkpoint = Checkpoint.from_tensors(tensors, f"{name}.safetensors", stated)
    found = identify(checkpoint, "diffusion model", None)
    family = import_module(f"comfyui_trajectory.models.{found.family}")
    return family.load_model(checkpoint, found, storage, torch.device("cpu" if device == "cpu" else "meta"))


def filled(model, place: torch.device):
    """Gives it random numbers at that place. In host memory all tensors share some: swapping copies them anyway."""
    blocks: dict[torch.dtype, torch.Tensor] = {}
    values = [*model.module.parameters(), *model.module.buffers()]
    largest = max(value.numel() for value in values)
    for owner in model.module.modules():
        for slots in (owner._parameters, owner._buffers):
            for key, value in slots.items():
                if value is None:
                    continue
                if value.dtype not in blocks:
                    blocks[value.dtype] = numbers(value.dtype, largest, place)
                part = blocks[value.dtype][: value.numel()].view(value.shape)
                if key == "scale_weight":
                    part = torch.full(value.shape, SCALE / 100, dtype=value.dtype, device=place)
                elif place.type != "cpu":
                    part = part.clone()
                slots[key] = torch.nn.Parameter(part, requires_grad=False) if slots is owner._parameters else part
    model.module.to(place)
    return model


def numbers(dtype: torch.dtype, count: int, place: torch.device) -> torch.Tensor:
    piece = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0)) * SCALE
    piece = (piece / SCALE * 100).to(dtype) if dtype.itemsize == 1 else piece.to(dtype)
    return piece.to(place).view(torch.uint8).repeat(-(-count // len(piece))).view(dtype)[:count]


def inputs_of(model, size: tuple[int, int, int], device: torch.device) -> tuple:
    text, shapes = model.example_inputs(*size)
    x, t = torch.randn(1, *model.latent_shape(*size), device=device), torch.full((1,), 500.0, device=device)
    prompt = torch.randn(1, *text, device=device).to(model.dtype)
    return x, t, prompt, {key: torch.randn(shape, device=device).to(model.dtype) for key, shape in shapes.items()}


def counted(name: str, size: tuple[int, int, int]) -> int:
    """Floating-point operations of a step: of products of matrices, attention and convolutions."""
    model = hollow(name, "bf16")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.predict(*inputs_of(model, size, torch.device("meta")))
    return counter.get_total_flops()


def predictions(name: str, device: str) -> dict[str, Memory]:
    return {held: measure(hollow(name, storage, device), *SIZES[name]) for held, storage in STORAGES.items()}


def rows_of(name: str, foretold: dict[str, Memory], limits: list[int]) -> list[dict]:
    """What is measured of a model, the most wanted first."""
    rows = [
        {"row": "whole", "held": "bf16"}, {"row": "whole, fp8", "held": "fp8"},
        {"row": "whole, fp8 products", "held": "fp8", "options": {"fp8_products": True}},
    ]  # fmt: skip
    half = len(foretold["bf16"].blocks) // 2
    rows.append({"row": f"{half} blocks", "held": "bf16", "options": {"blocks_on_device": half}})
    suggested = suggestions(foretold["bf16"], foretold["fp8"])
    for limit in sorted(limits, key=lambda limit: not (suggested.get(limit) and suggested[limit].blocks_on_device)):
        options = suggested.get(limit)
        if options is None:
            rows.append({"row": f"{limit} GB", "does_not_fit": True})
            continue
        held = "bf16" if options.storage == "auto" else "fp8"
        swap = {"blocks_on_device": options.blocks_on_device} if options.blocks_on_device else {}
        rows.append({"row": f"{limit} GB", "limit": limit, "held": held, "options": swap})
    return [{"options": {}, "limit": None} | row for row in rows]


# In the process of one model


@torch.no_grad()
def one_row(name: str, row: dict, device: torch.device, runs: int, deadline: float) -> dict:
    started = time.perf_counter()
    options = Options(**row["options"])
    model = hollow(name, STORAGES[row["held"]], device.type)
    model.device = device
    if row["limit"] and device.type == "cuda":
        whole = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, (row["limit"] * 1e9 - CONTEXT) / whole))
    filled(model, torch.device("cpu") if options.blocks_on_device else device)
    model.settle(options)
    if device.type == "cuda":
        torch.cuda.synchronize()
    made = time.perf_counter() - started
    given = inputs_of(model, SIZES[name], device)
    (kept,) = model.kept_at(*SIZES[name], 1)
    more = {} if kept is None else {"kept": kept}

    def step() -> torch.Tensor:
        return model.predict(*given, **more)

    with model.running():
        first, *_ = timed(lambda: row.update(peak_of(step)))  # in which kernels are chosen
        times = []
        while len(times) < runs and (not times or time.time() + times[-1] < deadline):
            times.append(timed(step)[0])
    weights = sum(value.nbytes for value in (*model.module.parameters(), *model.module.buffers()))
    row |= {"seconds": statistics.median(times), "runs": len(times), "first_seconds": first, "made_seconds": made,
            "weights_mib": weights / MIB, "host_mib": resident("VmRSS")}  # fmt: skip
    if model.swap is not None:
        row["moved_mib"] = sum(packed.size for packed in model.swap.packed.values()) / MIB
    return row


def model_process(name: str, options: argparse.Namespace) -> None:
    device = torch.device(options.device)
    foretold = predictions(name, options.device)
    flops, rows = counted(name, SIZES[name]), rows_of(name, foretold, options.limits)
    rows = [row for row in rows if not options.rows or row["row"] in options.rows]
    for row in rows:
        tell({**row, "waits": True})
    torch.zeros(1, device=device)  # the device is there
    deadline, last = time.time() + float(sys.stdin.readline()), 0.0  # its turn, and how many seconds
    for row in rows:
        if row.get("does_not_fit"):
            tell(row)
            continue
        if time.time() + 0.5 * last > deadline:
            break
        begun = time.time()
        row["predicted_mib"] = foretold[row["held"]].on_device(Options(**row["options"])) / MIB
        try:
            row = one_row(name, row, device, options.runs, deadline)
            row["tflops"] = flops / row["seconds"] / 1e12
        except Exception as error:  # such as too little memory: a result too
            row["failed"] = f"{type(error).__name__}: {str(error)[:300]}"
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.set_per_process_memory_fraction(1.0)
        last = time.time() - begun
        tell({**row, "row_seconds": last})


def ceilings_process(options: argparse.Namespace) -> None:
    sys.stdin.readline()  # its turn
    for found in ceilings(torch.device(options.device)):
        tell(found)


def tell(row: dict) -> None:
    sys.stdout.write(TALK + json.dumps(row) + "\n")
    sys.stdout.flush()


# The process that starts the others


class Other:
    """A process that measures one model, or the ceilings."""

    def __init__(self, only: str, options: argparse.Namespace):
        command = [sys.executable, __file__, "--only", only, "--device", options.device, "--runs", str(options.runs),
                   "--limits", *map(str, options.limits), "--rows", *options.rows]  # fmt: skip
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.told: queue.Queue = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        for line in self.process.stdout:
            self.told.put(line)
        self.told.put(None)

    def rows(self, seconds: float, quiet: float):
        """Lets it begin, and gives what it tells, until it ends; it is ended where it is silent for `quiet` seconds, or
        at work ten seconds longer than it may."""
        deadline = time.time() + seconds + 10
        try:
            self.process.stdin.write(f"{seconds}\n")
            self.process.stdin.flush()
            while (line := self.told.get(timeout=max(0.1, min(quiet, deadline - time.time())))) is not None:
                if line.startswith(TALK):
                    yield json.loads(line[len(TALK) :])
        except (queue.Empty, BrokenPipeError):
            log.warning("%s: ended, since it took too long or failed", self.process.args[3])
        finally:
            self.process.kill()
            self.process.wait()


def in_words(results: dict) -> list[str]:
    ceilings = results.get("ceilings", {})
    said = [f"{name}: {value:.1f}" if isinstance(value, float) else f"{name}: {value}"
            for name, value in ceilings.items()]  # fmt: skip
    said.append(f"{'model':<16}{'held':<21}{'s/step':>8}{'peak':>8}{'foretold':>9} GB{'TFLOP/s':>9}{'of most':>8}"
                f"{'from host':>10} GB/s")  # fmt: skip
    for name in MODELS:
        for row in results.get(name, {}).values():
            start = f"{name:<16}{row['row']:<21}"
            if "seconds" not in row:
                said.append(start + ("does not fit, says `info`" if row.get("does_not_fit") else row.get("failed", "not run")))
                continue
            most = ceilings.get("matmul_bf16_tflops")
            share = f"{row['tflops'] / most:7.0%} " if most else " " * 8
            moved = f"{row['moved_mib'] * MIB / 1e9 / row['seconds']:9.1f}" if "moved_mib" in row else ""
            said.append(
                f"{start}{row['seconds']:8.3f}{row['peak_mib'] * MIB / 1e9:8.2f}"
                f"{row['predicted_mib'] * MIB / 1e9:9.2f}   {row['tflops']:9.1f}{share}{moved}"
            )
    return said


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[name for name in MODELS if name != "tiny"])
    parser.add_argument("--limits", nargs="*", type=int, default=[24, 16, 12, 8], help="GB")
    parser.add_argument("--rows", nargs="*", default=[], help="only these, such as '24 GB'")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=210, help="for everything")
    parser.add_argument("--quiet", type=float, default=75, help="seconds that a single row may take")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only", help="measures one model, or the 'ceilings', and tells each row as JSON")
    options = parser.parse_args()
    if options.only:
        ceilings_process(options) if options.only == "ceilings" else model_process(options.only, options)
        return
    deadline, results = time.time() + options.seconds, {}

    def note(key: str, content: dict) -> None:
        results[key] = results.get(key, {}) | content
        write(options.results, f"full_size_{options.device}", options, results)

    others = {name: Other(name, options) for name in options.models}  # which prepare themselves meanwhile
    for row in Other("ceilings", options).rows(30, 40):
        note("ceilings", row)
    for i, (name, other) in enumerate(others.items()):
        weights = [SHARES.get(later, 1.0) for later in options.models[i:]]
        seconds = (deadline - time.time()) * weights[0] / sum(weights)
        for row in other.rows(seconds, options.quiet):
            waits = row.pop("waits", False)
            note(name, {row["row"]: row})
            if not waits:
                log.info("%s %s", name, {key: row[key] for key in row if key not in ("options", "limit")})
    for line in in_words(results):
        log.info("%s", line)


if __name__ == "__main__":
    main()
