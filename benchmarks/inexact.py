"""What the inexact options cost: the example that comes along, by the embedded model, against the same in float32.

    python benchmarks/inexact.py [--steps 20] [--cfg 2]

Prints for each option the PSNR of its video against the exact one, the tracks' error (percent of the short side) and
how often the model was asked. The embedded model is small: figures of the 14B model will be others. Its weights are
fp8 as they are stored: their float32 values are moved by up to a quarter of fp8's step first, so that storing them in
fp8 rounds them as it rounds trained weights, and what they are compared with is the moved model in float32. 'cast' is
without scales, as files of plain fp8 are.
"""

from __future__ import annotations

import argparse
import logging
import math
import time

import torch
from comfyui_trajectory.commands.cli import EXAMPLE_IMAGE, EXAMPLE_PROMPT, EXAMPLE_TRACKS
from comfyui_trajectory.commands.files import read_image
from comfyui_trajectory.models import (
    Options, TextConditioning, embedded, load_image_encoder, load_model, load_text_encoder, load_vae, sample,
)  # fmt: skip
from comfyui_trajectory.models.common.ops import SENSITIVE, real_weight, store_fp8
from comfyui_trajectory.trajectory import read_tracks
from comfyui_trajectory.trajectory.score import score
from comfyui_trajectory.trajectory.spread import spread

log = logging.getLogger("benchmarks.inexact")

FP8 = {"e4m3fn": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}
MOVED = 1 / 16  # of a weight, at most: e4m3fn keeps 3 bits beside the leading one, steps of 1/16 to 1/8 of a number
WAYS = {
    "float32": {},
    "batched guidance": {"guidance": "batched"},
    "bf16": {"storage": "bf16"},
    **{f"easycache {share}": {"step_cache": "easycache", "step_cache_threshold": share} for share in (0.05, 0.1, 0.3)},
}

# Of these the weights are moved first; "moved" is what they are compared with.
MOVED_WAYS = {
    "moved, float32": lambda module: None,
    **{f"moved, {name}, cast": lambda module, dtype=dtype: cast(module, dtype) for name, dtype in FP8.items()},
    **{f"moved, {name}, scaled": lambda module, dtype=dtype: store_fp8(module, dtype) for name, dtype in FP8.items()},
}


def move(module: torch.nn.Module) -> None:
    """Every large weight by up to MOVED of itself, from a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    for name, layer in fp8_layers(module):
        weight = real_weight(layer, torch.float32)
        share = 1 + MOVED * (2 * torch.rand(weight.shape, generator=generator) - 1)
        layer.weight = torch.nn.Parameter(weight * share, requires_grad=False)
        layer._buffers.pop("scale_weight", None)


def fp8_layers(module: torch.nn.Module) -> list[tuple[str, torch.nn.Linear]]:
    """The layers whose weights storage in fp8 changes."""
    return [
        (name, layer) for name, layer in module.named_modules()
        if isinstance(layer, torch.nn.Linear) and not any(part in f"{name}.weight" for part in SENSITIVE)
    ]  # fmt: skip


def cast(module: torch.nn.Module, dtype: torch.dtype) -> None:
    """Weights rounded to fp8 as they are, without scales."""
    for _, layer in fp8_layers(module):
        layer.weight = torch.nn.Parameter(layer.weight.to(dtype).float(), requires_grad=False)


def psnr(video: torch.Tensor, exact: torch.Tensor) -> float:
    """Of frames in 0..1, in decibels."""
    error = (video - exact).square().mean().item()
    return math.inf if error == 0 else -10 * math.log10(error)


@torch.no_grad()
def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("comfyui_trajectory").setLevel(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=2.0)
    options = parser.parse_args()
    vae, encoder = load_vae(embedded("vae")), load_text_encoder(embedded("text_encoder"))
    text = TextConditioning(encoder.encode(EXAMPLE_PROMPT)[None], encoder.encode("")[None])
    image = read_image(EXAMPLE_IMAGE)
    tracks = read_tracks(EXAMPLE_TRACKS, canvas=(image.shape[2], image.shape[1]))
    tracks = spread(tracks, 9, 0.08 * min(image.shape[1:3]))
    seen = load_image_encoder(embedded("image_encoder")).encode(image)
    exact = None
    for name, way in (WAYS | MOVED_WAYS).items():
        model = load_model(embedded("model"), options=Options(**({} if callable(way) else way)))
        if callable(way):
            move(model.module)
            way(model.module)
        if name == "moved, float32":
            exact = None
        size = {key: model.defaults[key] for key in ("width", "height", "frames")}
        motion = model.encode_motion(tracks, vae=vae, image=image, image_tokens=seen, **size)
        calls: list[int] = []
        model.module.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        given = {key: model.defaults[key] for key in ("shift", "scheduler")}
        start = time.process_time()
        latents = sample(model, text, motion, steps=options.steps, cfg=options.cfg, seed=0, **given)
        spent = time.process_time() - start
        frames = (vae.decode(latents)[0].movedim(0, -1) / 2 + 0.5).clamp(0, 1)
        exact = frames if exact is None else exact
        asked = tracks.resize(size["width"], size["height"])
        log.info(
            "%-22s PSNR %5.1f dB   tracks %4.1f%%   model called %2d times   %5.1f s of the processor",
            name, psnr(frames, exact), score(frames, asked).error_percent, len(calls), spent,
        )  # fmt: skip


if __name__ == "__main__":
    main()
