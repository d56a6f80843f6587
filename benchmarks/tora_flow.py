"""From two trajectories to the flow video that Tora's VAE is given, at 49 x 480 x 720: this pack beside the release.

    git clone https://github.com/alibaba/Tora
    python benchmarks/tora_flow.py Tora [--runs 5]

The release is its own process_traj, which gives the flow field, and torchvision's flow_to_image, which colours it
(where torchvision is installed). Both get the same trajectories in the same process, turn by turn, and their results
are compared.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import tempfile
import time
from pathlib import Path

import torch
from comfyui_trajectory.trajectory.flow import flow_of_tracks, flow_video
from comfyui_trajectory.trajectory.tora import official_pixels, official_tracks
from turns import RESULTS, versions, write

FRAMES, HEIGHT, WIDTH = 49, 480, 720
POINTS = (((20, 60), (120, 200), (230, 40)), ((200, 220), (60, 120), (128, 128), (30, 30)))
log = logging.getLogger("benchmarks.tora_flow")


def release(repository: Path):
    """traj_utils.py of a checkout, imported from its file."""
    file = repository / "diffusers-version" / "tora" / "traj_utils.py"
    spec = importlib.util.spec_from_file_location("tora_traj_utils", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def timed(work) -> tuple[float, object]:
    """(seconds of processor time, result)"""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repository", type=Path, help="a checkout of alibaba/Tora")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    theirs = release(options.repository)
    try:
        from torchvision.utils import flow_to_image
    except ImportError:
        flow_to_image = None
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{i}.txt" for i in range(len(POINTS))]
        for file, points in zip(files, POINTS):
            file.write_text("".join(f"{x}, {y}\n" for x, y in points))
        tracks = official_tracks([official_pixels(p, FRAMES, WIDTH, HEIGHT) for p in POINTS], WIDTH, HEIGHT)
        seconds: dict[str, list[float]] = {
            "release, field": [],
            "release, colours": [],
            "ours, field": [],
            "ours, pixels": [],
        }
        for _ in range(options.runs):
            spent, (field, _) = timed(lambda: theirs.process_traj(files, FRAMES, (HEIGHT, WIDTH)))
            seconds["release, field"].append(spent)
            if flow_to_image is not None:
                spent, colours = timed(lambda field=field: flow_to_image(field.permute(0, 3, 1, 2)))
                seconds["release, colours"].append(spent)
            spent, own_field = timed(lambda: flow_of_tracks(tracks, WIDTH, HEIGHT))
            seconds["ours, field"].append(spent)
            spent, pixels = timed(lambda: flow_video(tracks, WIDTH, HEIGHT))
            seconds["ours, pixels"].append(spent)
    for name, times in seconds.items():
        if times:
            log.info(
                "%-18s %7.3f s (best of %d; median %.3f)", name, min(times), len(times), sorted(times)[len(times) // 2]
            )
    log.info("to pixels by us against the release's field alone: %.1f times as fast",
             min(seconds["release, field"]) / min(seconds["ours, pixels"]))  # fmt: skip
    difference = (own_field.permute(0, 2, 3, 1) - field).abs().max().item()
    log.info("largest difference of the fields: %.1e of %.1f pixels", difference, field.norm(dim=-1).max().item())
    if flow_to_image is not None:
        levels = ((pixels[0].transpose(0, 1) + 1) * 127.5 - colours.float()).abs().max().item()
        log.info("largest difference of the colours: %.0f of 255", levels)
    rows = {name: {"processor_seconds": sorted(times)[len(times) // 2]} for name, times in seconds.items() if times}
    write(options.results, "tora_flow_cpu", options, rows, versions({"official": options.repository}))
    log.info("%d threads, %d cores, load %.1f", torch.get_num_threads(), os.cpu_count(), os.getloadavg()[0])


if __name__ == "__main__":
    main()
