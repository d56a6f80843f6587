"""Encoding and decoding a clip with a VAE at its real sizes, by this pack and by its peers: time turn by turn, and the
peak of memory of each in a process of its own.

    python benchmarks/vae.py wan decode --size 224x128 --frames 9 --threads 1
    COMFYUI_PATH=~/ComfyUI python benchmarks/vae.py wan encode --official Wan2.1
    python benchmarks/vae.py easyanimate decode --official EasyAnimate --peak-size 320x192

Weights are random. --peak-size: of the clip whose memory is measured, where that should be larger.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch
from comfyui_trajectory.models.common.memory import measure_coding
from torch import Tensor
from turns import MIB, add_common, in_a_process, in_turns, peak_of, say, versions, write
from vae_peers import FAMILIES, random_weights

log = logging.getLogger("benchmarks.vae")


def clip(direction: str, size: str, frames: int) -> Tensor:
    """What is encoded or decoded: pixels [1, 3, frames, h, w], or latents [1, 16, 1 + n, h / 8, w / 8]."""
    width, height = (int(side) for side in size.split("x"))
    generator = torch.Generator().manual_seed(1)
    if direction == "encode":
        shape = (1, 3, frames, height, width)
    else:
        shape = (1, 16, (frames - 1) // 4 + 1, height // 8, width // 8)
    return torch.randn(shape, generator=generator).to(torch.get_default_device(), torch.get_default_dtype()) / 2


def works(options: argparse.Namespace, size: str, frames: int) -> dict[str, Callable[[], Tensor]]:
    """What encodes or decodes a clip, by name: of --only, or ours and the peers that can be had here."""
    family = FAMILIES[options.family]
    weights = random_weights(family)
    given, found = clip(options.direction, size, frames), {}
    for name, build in family.peers.items():
        folder = getattr(options, family.folders.get(name, ""), None)
        asked = name == options.only if options.only else name == "ours" or name in (options.peers or family.peers)
        if asked and (folder or name not in family.folders):
            coder = build(weights, folder)[options.direction == "decode"]
            found[name] = lambda coder=coder: coder(given)
    return found


def foretold(options: argparse.Namespace) -> float:
    """MiB that ours is expected to take beside the weights where memory is measured."""
    with torch.device("meta"):
        module = FAMILIES[options.family].build()
    width, height = (int(side) for side in (options.peak_size or options.size).split("x"))
    vae = SimpleNamespace(module=module, device=torch.device(options.device), dtype=torch.get_default_dtype(),
                          temporal=module.temporal, channels=16)  # fmt: skip
    return measure_coding(vae, options.direction, width, height, options.peak_frames or options.frames) / MIB


@torch.no_grad()
def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("direction", choices=("encode", "decode"))
    add_common(parser, size="224x128", frames=9, runs=1)
    parser.add_argument("--peak-size", help="of the clip whose memory is measured (default: --size)")
    parser.add_argument("--peak-frames", type=int, help="and how long that is (default: --frames)")
    parser.add_argument("--only", metavar="PEER", help="tells the peak of memory of this one, as JSON, alone")
    options = parser.parse_args()
    options.comfyui = Path(options.comfyui) if options.comfyui else None
    torch.set_num_threads(options.threads)
    torch.set_default_device(options.device)
    torch.set_default_dtype(getattr(torch, options.dtype))
    if options.only:
        (work,) = works(options, options.peak_size or options.size, options.peak_frames or options.frames).values()
        sys.stdout.write(json.dumps(peak_of(work)) + "\n")
        return
    log.info("%s, %s %d frames of %s:", options.family, options.direction, options.frames, options.size)
    within = (-1, 1) if options.direction == "decode" else None
    rows = in_turns(works(options, options.size, options.frames), options.runs, options.device, within)
    for name in rows:
        rows[name] |= in_a_process("vae.py", *sys.argv[1:], "--only", name)
    rows["ours"]["foretold_mib"] = foretold(options)
    say(rows)
    log.info("foretold of ours beside the weights: %.0f MiB", rows["ours"]["foretold_mib"])
    checkouts = {"comfyui": options.comfyui, "official": options.official}
    name = f"vae_{options.family}_{options.direction}_{options.device}"
    write(options.results, name, options, rows, versions(checkouts))


if __name__ == "__main__":
    main()
