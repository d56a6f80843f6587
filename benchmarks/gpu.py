"""A step of the full-size models on a GPU, as a card of 8, 12, 16 or 24 GB would hold them, and how it grows.

    python benchmarks/gpu.py [--models wan_14b tora_5b easyanimate_7b easyanimate_12b] [--limits 8 12 16 24]

Weights are random, written once to a folder that is removed again (--folder: where; up to 33 GB a model). Under a limit
torch may not take more memory than such a card has, and the model is held by the options that `info` suggests for it.
Each row is a fresh process: seconds a step (one half of the guidance), the peak of torch's allocator, and what was
predicted.

**This has not been run on a GPU.** `--device cpu --models tiny` goes through the same code anywhere.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import struct
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
from comfyui_trajectory.models import Options, load_model, predict_memory
from comfyui_trajectory.models.cogvideox.config import CogVideoXConfig
from comfyui_trajectory.models.cogvideox.transformer import CogVideoXTransformer
from comfyui_trajectory.models.common.memory import suggestions
from comfyui_trajectory.models.easyanimate.config import EasyAnimateConfig
from comfyui_trajectory.models.easyanimate.transformer import EasyAnimateTransformer
from comfyui_trajectory.models.wan.config import WanConfig
from comfyui_trajectory.models.wan.transformer import WanTransformer
from turns import MIB, RESULTS, in_a_process, peak_of, timed, write

MODELS = {
    "wan_14b": (WanTransformer, WanConfig()),
    "tora_5b": (
        CogVideoXTransformer, CogVideoXConfig(num_attention_heads=48, num_layers=42, traj_extractor_channels=128),
    ),
    "easyanimate_7b": (EasyAnimateTransformer, EasyAnimateConfig(in_channels=48, num_layers=36, mmdit_layers=18)),
    "easyanimate_12b": (EasyAnimateTransformer, EasyAnimateConfig(in_channels=48)),
    "tiny": (WanTransformer, WanConfig(dim=256, ffn_dim=512, num_heads=2, num_layers=4)),
}  # fmt: skip
# Clips that a whole model is timed with: width, height, frames.
SCALING = {
    "wan_14b": ((480, 272, 81), (832, 480, 33), (832, 480, 81), (1280, 720, 81)),
    "tora_5b": ((720, 480, 17), (720, 480, 49)),
    "easyanimate_7b": ((672, 384, 25), (672, 384, 49), (1344, 768, 49)),
    "easyanimate_12b": ((672, 384, 25), (672, 384, 49), (1344, 768, 49)),
    "tiny": ((64, 64, 5), (64, 64, 9)),
}
PIECE = 1 << 24  # numbers written at once
log = logging.getLogger("benchmarks.gpu")


def write_checkpoint(path: Path, name: str) -> None:
    """A model's file in bfloat16, of small random numbers that repeat, written piece by piece."""
    build, config = MODELS[name]
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in build(config).state_dict().items()}
    header, offset = {}, 0
    if name != "tiny" and "easyanimate" not in name:
        header["__metadata__"] = {"config": json.dumps(asdict(config))}
    for key, shape in shapes.items():
        size = torch.Size(shape).numel() * 2
        header[key] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    piece = (torch.randn(PIECE, generator=torch.Generator().manual_seed(0)) * 0.02).bfloat16()
    piece = piece.view(torch.uint8).numpy().tobytes()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for start in range(0, offset, len(piece)):
            file.write(piece[: offset - start])


@torch.no_grad()
def measure(path: Path, row: dict) -> dict:
    """Loads a model as `row` says (limit in GB or None, options, size, device) and runs steps, without guidance."""
    device = torch.device(row["device"])
    if row["limit"] and device.type == "cuda":
        whole = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, row["limit"] * 1e9 / whole))
    model = load_model(path, device=device, options=Options(**row["options"]))
    text, inputs = model.example_inputs(*row["size"])
    shape = model.latent_shape(*row["size"])
    x, t = torch.randn(1, *shape, device=device), torch.full((1,), 500.0, device=device)
    prompt = torch.randn(1, *text, device=device, dtype=model.dtype)
    given = {key: torch.randn(size, device=device).to(model.dtype) for key, size in inputs.items()}
    (kept,) = model.kept_at(*row["size"], 1)
    more = {} if kept is None else {"kept": kept}

    def step() -> torch.Tensor:
        return model.predict(x, t, prompt, given, **more)

    with model.running():
        found = peak_of(step)  # the first, which keeps what is of the prompt, and in which kernels are chosen
        times = [timed(step)[0] for _ in range(row["runs"])]
    weights = sum(value.nbytes for value in (*model.module.parameters(), *model.module.buffers()))
    return row | found | {"seconds": statistics.median(times), "weights_mib": weights / MIB}


def rows_of(name: str, path: Path, options: argparse.Namespace) -> list[dict]:
    """What is measured of a model: held whole at each size, and under each limit at the last but one or only size."""
    base = {"device": options.device, "runs": options.runs}
    rows = [base | {"limit": None, "options": {}, "size": size} for size in SCALING[name]]
    usual = SCALING[name][-2] if name.startswith(("wan", "easyanimate")) else SCALING[name][-1]
    found = suggestions(predict_memory(path, *usual), predict_memory(path, *usual, dtype="fp8_e4m3fn"))
    for limit in options.limits:
        if found.get(limit) is not None:
            rows.append(base | {"limit": limit, "options": found[limit].changed(), "size": usual})
        else:
            log.info("%s: does not fit %d GB at %dx%d, %d frames", name, limit, *usual)
    return rows


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[name for name in MODELS if name != "tiny"])
    parser.add_argument("--limits", nargs="*", type=int, default=[8, 12, 16, 24], help="GB")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--folder", type=Path, help="where the weights are written (default: the temporary folder)")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--only", nargs=2, metavar=("FILE", "ROW"), help="measures one row and tells it as JSON")
    options = parser.parse_args()
    if options.only:
        sys.stdout.write(json.dumps(measure(Path(options.only[0]), json.loads(options.only[1]))) + "\n")
        return
    results = {}
    for name in options.models:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder) / f"{name}.safetensors"
            write_checkpoint(path, name)
            results[name] = []
            for row in rows_of(name, path, options):
                work = predict_memory(path, *row["size"], dtype=row["options"].get("storage", "auto"))
                predicted = work.on_device(Options(**row["options"])) / MIB
                try:
                    row = in_a_process("gpu.py", "--only", str(path), json.dumps(row)) | {"predicted_mib": predicted}
                except subprocess.CalledProcessError as error:
                    row |= {"failed": str(error)}
                results[name].append(row)
                log.info("%s %s: %s", name, row["limit"] or "whole", {key: row[key] for key in row if key != "runs"})
    write(options.results, f"full_size_{options.device}", options, results)


if __name__ == "__main__":
    main()
