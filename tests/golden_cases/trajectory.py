"""Golden cases of ATI's tracks: the official resampling, the official files, and the coordinates of ComfyUI's own
node."""

from __future__ import annotations

import numpy as np
import torch
from comfyui_trajectory.trajectory.ati import LENGTH, comfy_tracks, decode_ati, official_tracks
from comfyui_trajectory.trajectory.coordinates import parse_batches

from . import GoldenCase


def tracks_official(case: GoldenCase) -> None:
    for sub in case.config["subcases"]:
        name, size = sub["name"], (sub["width"], sub["height"])
        case.check(f"tracks_{name}", official_tracks(case.inputs[f"raw_{name}"], size, sub["quant_multi"]))


def tracks_file(case: GoldenCase) -> None:
    for name in case.config["files"]:
        size = case.config["image_size"][name]
        array = decode_ati(case.inputs[f"file_{name}"].numpy().tobytes(), f"{name}.pth")
        case.check(f"array_{name}", torch.from_numpy(array))
        size = (size["width"], size["height"])
        case.check(f"tracks_{name}", official_tracks(array, size, case.config["quant_multi"]))


def padded(tracks: list) -> np.ndarray:
    """[tracks, 121, 1, 3] as the node's pad_pts does it: cut at 121 points, zeros after the last."""
    array = np.zeros((len(tracks), LENGTH, 1, 3), np.float32)
    for row, points in zip(array, tracks):
        points = points[:LENGTH]
        row[: len(points), 0] = points
    return array


def tracks_comfy(case: GoldenCase) -> None:
    for sub in case.config["subcases"]:
        frames, size = sub["length"], (sub["width"], sub["height"])
        entries = parse_batches(case.data["text_inputs"][sub["name"]])
        assert len(entries) == sub["batches"]
        for index, tracks in enumerate(entries):
            name = f"tracks_{sub['name']}_b{index}"
            ours = comfy_tracks(padded(tracks), size, frames)
            assert ours.shape[0] == frames
            # At these lengths the reference drops the second frame and comes out one short.
            if (frames - 1) % (LENGTH - 1) == 0 and frames > 1:
                ours = torch.cat([ours[:1], ours[2:]])
            case.check(name, ours)
