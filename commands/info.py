"""`info`: what a checkpoint or a track file is, in words or as JSON. Weights are not loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..models import ModelError, Options, info, predict_coding, predict_memory
from ..models.common.memory import CARDS, TILES, suggestions
from ..trajectory import TracksError, read_tracks

TRACK_ENDINGS = (".json", ".npz", ".npy", ".txt")
PICKLES = (".pth", ".pt")


def describe(path: Path, width: int = 0, height: int = 0, frames: int = 0, options: Options = Options()) -> dict:
    """What a file is, and of a model the memory for a clip of that size (0: its usual one) with these options: a dict
    with `what`: "tracks" or "checkpoint". The error of the reader that the file most likely was meant for."""
    if not path.exists():
        raise ValueError(f"{path} does not exist.")
    if path.suffix.lower() in TRACK_ENDINGS and not path.name.endswith(".index.json"):
        return describe_tracks(path)
    if path.suffix.lower() in PICKLES and path.is_file():
        try:
            return describe_tracks(path)
        except TracksError as not_tracks:
            try:
                return describe_checkpoint(path, width, height, frames, options)
            except ModelError as not_weights:
                raise ValueError(f"{not_weights} As a track file: {not_tracks}") from None
    return describe_checkpoint(path, width, height, frames, options)


def describe_checkpoint(path: Path, width: int, height: int, frames: int, options: Options) -> dict:
    """What `models.info` says, and for a diffusion model `memory` (bytes at the peak of a step with a GPU), `work` (the
    part of it that is not weights) and `cards` ({GB of a graphics card: options with which it fits, or None})."""
    found = {"what": "checkpoint", **info(path)}
    if found["kind"] == "diffusion model" and found["problem"] is None:
        asked = predict_memory(path, width, height, frames, options=options)
        in_fp8 = None if options.storage != "auto" or "float8" in " ".join(found["dtypes"]) else predict_memory(
            path, width, height, frames, options=replace(options, storage="fp8_e4m3fn")
        )  # fmt: skip
        cards = suggestions(asked, in_fp8, options)
        found |= {
            "memory": asked.on_device(options), "work": asked.work,
            "cards": {card: None if options is None else options.changed() for card, options in cards.items()},
        }  # fmt: skip
    if found["kind"] == "vae" and found["problem"] is None:
        found |= of_a_vae(path, width, height, frames)
    return found


def of_a_vae(path: Path, *size: int) -> dict:
    """`memory` (bytes at the peak of what takes most), `encode` and `decode` (the parts that are not weights), `cards`."""
    whole = predict_coding(path, *size)
    ways = [(None, whole)] + [(tile, predict_coding(path, *size, tile=tile)) for tile in TILES]

    def on(card: int) -> dict | None:
        fitting = (tile for tile, way in ways if max(part.needed(Options()) for part in way.values()) <= card * 1e9)
        tile = next(fitting, 0)
        return {"tile": tile} if tile else None if tile == 0 else {}

    return {
        "memory": max(part.on_device(Options()) for part in whole.values()),
        **{direction: part.work for direction, part in whole.items()},
        "cards": {card: on(card) for card in CARDS},
    }


def describe_tracks(path: Path) -> dict:
    tracks = read_tracks(path)
    position = tracks.path
    low, high = position.amin((0, 1)).tolist(), position.amax((0, 1)).tolist()
    step = (position[1:] - position[:-1]).norm(dim=-1).sum(0) if tracks.frames > 1 else position.new_zeros(tracks.count)
    return {
        "what": "tracks", "path": str(path), "bytes": path.stat().st_size,
        "tracks": tracks.count, "frames": tracks.frames,
        "canvas": list(tracks.canvas) if tracks.canvas else None, "fps": tracks.fps,
        "x": [low[0], high[0]], "y": [low[1], high[1]], "longest_path": step.max().item(),
        "visible": tracks.visibility.float().mean().item(),
    }  # fmt: skip


def in_words(found: dict) -> str:
    """The description as lines of text."""
    return tracks_in_words(found) if found["what"] == "tracks" else checkpoint_in_words(found)


def tracks_in_words(found: dict) -> str:
    canvas = (
        "{}x{} pixels".format(*found["canvas"]) if found["canvas"] else "not in the file (the picture's size is used)"
    )
    lines = [
        f"{found['path']}: {found['tracks']} tracks of {found['frames']} frames ({size(found['bytes'])})",
        f"  canvas        {canvas}",
        f"  frame rate    {found['fps'] or 'not in the file'}",
        "  positions     x {:.1f} to {:.1f}, y {:.1f} to {:.1f} pixels".format(*found["x"], *found["y"]),
        f"  longest path  {found['longest_path']:.1f} pixels",
        f"  visible       {found['visible']:.0%} of the points",
    ]
    return "\n".join(lines)


def checkpoint_in_words(found: dict) -> str:
    what = (
        " ".join(filter(None, (found["family"], found["variant"], found["kind"])))
        or found.get("seems")
        or "unknown model"
    )
    dtypes = ", ".join(f"{name} {share:.0%}" for name, share in found["dtypes"].items())
    lines = [
        f"{found['path']}: {what}",
        f"  size          {size(found['bytes'])} in {len(found['files'])} file(s), {found['tensors']} tensors",
        f"  parameters    {found['parameters']:,}",
        f"  number format {dtypes}",
    ]
    lines += [f"  {name:<13} {value}" for name, value in found["sizes"].items()]
    if found["memory"]:
        lines.append(f"  memory        about {size(found['memory'])} for the weights and one clip")
    if "decode" in found:
        lines.append(
            f"  of it         {size(found['encode'])} to encode and {size(found['decode'])} to decode, beside the weights"
        )
    for card, options in found.get("cards", {}).items():
        lines.append(f"  {f'on {card} GB':<13} {in_options(options)}")
    if len(found.get("contents", ())) > 1:
        lines.append(f"  holds         {', '.join(found['contents'])}")
    if found["problem"]:
        lines.append(f"  problem       {found['problem']}")
    return "\n".join(lines)


def in_options(options: dict | None) -> str:
    """Options as they are written on the command line."""
    if options is None:
        return "does not fit at this size"
    names = {"storage": "dtype", "step_cache": "skip-steps"}
    flags = {name: f"--{names.get(name, name).replace('_', '-')}" for name in options}
    given = [flags[name] if value is True else f"{flags[name]} {value}" for name, value in options.items()]
    return " ".join(given) or "fits as it is"


def size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError
