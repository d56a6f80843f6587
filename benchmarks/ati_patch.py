"""ATI's motion patch at 81 x 480 x 832, by this pack and by the official code: the same tracks, turn by turn.

    git clone https://github.com/bytedance/ATI
    python benchmarks/ati_patch.py ATI [--tracks 1 20 100] [--threads 1]

Latents are random; tracks wander, are seen half the time and leave the frame.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
from pathlib import Path

import torch
from comfyui_trajectory.models.wan.motion_patch import motion_patch
from torch import Tensor
from turns import RESULTS, in_turns, say, versions, write

log = logging.getLogger("benchmarks.ati_patch")


def release(checkout: Path):
    """wan/modules/motion_patch.py of a checkout, imported from its file."""
    spec = importlib.util.spec_from_file_location("ati_motion_patch", checkout / "wan" / "modules" / "motion_patch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.patch_motion


def wandering(count: int, frames: int, generator: torch.Generator) -> Tensor:
    """[frames, count, 4]: time, x and y about the centre with the short side spanning -1..1, visibility -1 or 1."""
    start = torch.rand(1, count, 2, generator=generator) * 2 - 1
    places = start + torch.randn(frames, count, 2, generator=generator).cumsum(0) * 0.03
    seen = (torch.rand(frames, count, 1, generator=generator) > 0.5).float() * 2 - 1
    times = torch.linspace(-1, 1, frames)[:, None, None].expand(-1, count, 1)
    return torch.cat([times, places, seen], -1)


@torch.no_grad()
def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("official", type=Path, help="a checkout of bytedance/ATI")
    parser.add_argument("--tracks", type=int, nargs="+", default=[1, 20, 100])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    theirs, generator = release(options.official), torch.Generator().manual_seed(0)
    latents = torch.randn(16, 21, 60, 104, generator=generator)
    with_mask = torch.cat([torch.zeros(4, 21, 60, 104), latents])
    all_rows = {}
    for count in options.tracks:
        tracks = wandering(count, 81, generator)
        log.info("%d tracks:", count)
        all_rows[count] = rows = in_turns({
            "ours": lambda tracks=tracks: motion_patch(tracks, latents),
            "official": lambda tracks=tracks: theirs(tracks[None], with_mask, training=False),
        }, options.runs)  # fmt: skip
        say(rows)
    write(options.results, "ati_patch_cpu", options, all_rows, versions({"official": options.official}))


if __name__ == "__main__":
    main()
