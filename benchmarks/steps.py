"""One step of a transformer, by this pack and by its peers: same weights, sizes and threads, turn by turn, and the peak
of memory of each in a process of its own.

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
import sys
from pathlib import Path

import torch
from peers import FAMILIES
from turns import add_common, in_a_process, in_turns, peak_of, say, versions, write

log = logging.getLogger("benchmarks.steps")


@torch.no_grad()
def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--dim", type=int, default=1536)
    parser.add_argument("--layers", type=int, default=30)
    add_common(parser, size="416x240", frames=17)
    parser.add_argument("--only", metavar="PEER", help="tells the peak of memory of this one, as JSON, alone")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    torch.set_default_device(options.device)
    torch.set_default_dtype(getattr(torch, options.dtype))
    width, height = (int(side) // 8 for side in options.size.split("x"))
    comfyui = Path(options.comfyui) if options.comfyui else None
    latent = (options.frames - 1) // 4 + 1
    case = FAMILIES[options.family](options.dim, options.layers, latent, height, width, comfyui, options.official)
    if options.only:
        sys.stdout.write(json.dumps(peak_of(case.peers[options.only])) + "\n")
        return
    wanted = {"ours", *(options.peers or case.peers)}
    works = {name: work for name, work in case.peers.items() if name in wanted}
    clip = f"{options.frames} frames of {options.size}"
    log.info("%s, one step of %d blocks, %s:", options.family, options.layers, clip)
    rows = in_turns(works, options.runs, options.device)
    del case, works
    for name in rows:
        rows[name] |= in_a_process("steps.py", *sys.argv[1:], "--only", name)
    say(rows)
    checkouts = versions({"comfyui": comfyui, "official": options.official})
    write(options.results, f"step_{options.family}_{options.device}", options, rows, checkouts)


if __name__ == "__main__":
    main()
