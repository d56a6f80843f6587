"""What the inexact options cost: the example that comes along, by the embedded model, against the same in float32.

    python benchmarks/inexact.py [--steps 20] [--cfg 2]

Prints for each option the PSNR of its video against the exact one, the tracks' error (percent of the short side) and
how often the model was asked. The embedded model is small: figures of the 14B model will be others. Its weights are
fp8 already, so that fp8 storage changes nothing.
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
from comfyui_trajectory.trajectory import read_tracks
from comfyui_trajectory.trajectory.score import score
from comfyui_trajectory.trajectory.spread import spread

log = logging.getLogger("benchmarks.inexact")

WAYS = {
    "float32": {},
    "batched guidance": {"guidance": "batched"},
    "bf16": {"storage": "bf16"},
    **{f"easycache {share}": {"step_cache": "easycache", "step_cache_threshold": share} for share in (0.05, 0.1, 0.3)},
}


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
    for name, way in WAYS.items():
        model = load_model(embedded("model"), options=Options(**way))
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
            "%-18s PSNR %5.1f dB   tracks %4.1f%%   model called %2d times   %5.1f s of the processor",
            name, psnr(frames, exact), score(frames, asked).error_percent, len(calls), spent,
        )  # fmt: skip


if __name__ == "__main__":
    main()
