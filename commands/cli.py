"""The command line: runs what was asked for, and says how it ended. What can be asked is in arguments.py.

Exit codes: 0 done, 1 failed (one line on the error stream says why), 2 wrong usage, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import torch

from ..models import ModelError, Options
from ..nodes.host import EXAMPLES, host
from ..nodes.video import TrajectoryFlowFromVideo
from ..trajectory import Tracks, parse_coordinates, read_tracks
from .arguments import EMBEDDED_SPREAD, make_parser
from .extras import inputs_of_encode, inputs_of_sampler
from .files import read_image, read_video
from .generate import ModelFiles, Pipeline, overlay, save, show_bars

EXAMPLE_IMAGE, EXAMPLE_TRACKS = EXAMPLES / "cloud.jpg", EXAMPLES / "cloud.json"
EXAMPLE_PROMPT = "a white cloud drifts away"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        options.action(options)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except Exception as error:
        if options.verbose:
            logging.getLogger(__name__).exception("failed")
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


def one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, torch.OutOfMemoryError):
        text = text.split(" GPU ")[0].rstrip(". ")  # what torch says of itself after it
        return (
            f"The GPU's memory is not enough ({text}). Let it hold fewer blocks (--blocks-on-device; blocks_on_device "
            "of Trajectory Memory Options), keep the weights in fp8 (--dtype), or make a smaller or shorter video; "
            "`info` says what fits a card."
        )
    known = isinstance(error, (ValueError, OSError, ImportError))
    return text if known and text else f"{type(error).__name__}: {text} (--verbose shows where)"


def parser() -> argparse.ArgumentParser:
    return make_parser(
        {"generate": generate, "examples": examples, "run": run, "editor": editor, "info": info, "score": score}
    )


def model_files(options: argparse.Namespace) -> ModelFiles:
    given = {name: getattr(options, name) for name in ("model", "vae", "text_encoder")}
    more = {"loras": tuple(lora_of(parts) for parts in options.lora), "options": options_of(options)}
    own = any(given.values()) or options.image_encoder or options.motion
    if own and options.embedded:
        parser().error(f"--embedded {options.embedded} is a model of its own: leave out the other model files")
    if not own:
        return replace(ModelFiles.embedded(options.embedded or "ati"), **more)
    missing = [f"--{name.replace('_', '-')}" for name, value in given.items() if not value]
    if missing:
        parser().error(f"with files of your own, all of a system are needed: {', '.join(missing)} is missing")
    return ModelFiles(**given, image_encoder=options.image_encoder, motion=options.motion, **more)


def options_of(options: argparse.Namespace) -> Options:
    """How the model is held and run, by those of the arguments that the command has."""
    names = {field.name: field.name for field in fields(Options)}
    names |= {"step_cache": "skip_steps", "step_cache_threshold": "skip_threshold", "storage": "dtype"}
    try:
        return Options(**{name: getattr(options, given) for name, given in names.items() if given in options})
    except ModelError as error:
        parser().error(str(error))


def lora_of(parts: list[str]) -> tuple[str, float]:
    """(file, strength) of what follows --lora."""
    try:
        name, strength = parts if len(parts) == 2 else (*parts, "1")
        return name, float(strength)
    except ValueError:
        parser().error(f"--lora {' '.join(parts)}: write a file and, if you like, one number: how strongly it acts")


def pipeline(options: argparse.Namespace, keep: bool = True) -> Pipeline:
    if options.device:
        os.environ["TRAJECTORY_DEVICE"] = options.device
    width, height = options.size
    names = (
        "frames",
        "fit",
        "strength",
        "start_percent",
        "end_percent",
        "method",
        "expand_points",
        "expand_radius",
        "temperature",
        "topk",
    )
    given = {name: getattr(options, name) for name in names}
    encode = {"width": width, "height": height, **{name: value for name, value in given.items() if value is not None}}
    sampling = {name: getattr(options, name) for name in ("steps", "cfg", "shift", "scheduler")}
    return Pipeline(model_files(options), encode, sampling, options.tile, keep)


def tracks_of(text: str, canvas: tuple[int, int] | None) -> Tracks:
    """A track file, or coordinates as JSON text."""
    if text.lstrip().startswith(("[", "{")) and not Path(text).is_file():
        return parse_coordinates(text, canvas=canvas)
    return read_tracks(Path(text), canvas=canvas)


def all_tracks(options: argparse.Namespace, canvas: tuple[int, int] | None) -> Tracks | None:
    """What --tracks names, joined for one clip."""
    if options.tracks in (None, ["none"]):
        return None
    first, *others = [tracks_of(text, canvas) for text in options.tracks]
    return first.merge(*others) if others else first


INSTEAD_OF_TRACKS = ("control_video", "reference_video", "camera", "video", "end_image")


def control_video(options: argparse.Namespace) -> dict:
    """The inputs of Trajectory Encode that a video of the command line stands for."""
    if options.control_video and options.reference_video:
        parser().error("--control-video and --reference-video are two ways to give the same thing: use one")
    if options.control_video:
        return {"control_video": read_video(options.control_video)[0]}
    if options.reference_video:
        return {"control_video": TrajectoryFlowFromVideo().flow(read_video(options.reference_video)[0])[0]}
    return {}


def generate(options: argparse.Namespace) -> None:
    if options.image is None and options.tracks is None:
        options.image, options.tracks = EXAMPLE_IMAGE, [str(EXAMPLE_TRACKS)]
        options.prompt = EXAMPLE_PROMPT if options.prompt is None else options.prompt
    elif options.image is None or (options.tracks is None and not any(map(vars(options).get, INSTEAD_OF_TRACKS))):
        missing = "--image" if options.image is None else "--tracks (or --tracks none)"
        parser().error(f"{missing} is missing")
    model_files(options)  # wrong usage is told before anything is read
    if not options.model:
        for name, trained in EMBEDDED_SPREAD.items():
            if getattr(options, name) is None:
                setattr(options, name, trained)
    show_bars(options.quiet)
    image = None if str(options.image) == "none" else read_image(options.image)
    tracks = all_tracks(options, None if image is None else (image.shape[2], image.shape[1]))
    made = pipeline(options, keep=False)
    made.encode |= control_video(options) | inputs_of_encode(options)
    made.sampling |= inputs_of_sampler(options)
    frames, on_video = made.video(image, tracks, options.prompt or "", options.negative, options.seed)
    drawn = None if on_video is None else overlay(frames, on_video)
    tell(save(options.output, frames, drawn, made.fps))


def examples(options: argparse.Namespace) -> None:
    from .examples import run_examples

    model_files(options)
    show_bars(options.quiet)
    made = run_examples(
        options.list, lambda: pipeline(options), options.output,
        seed=options.seed, negative=options.negative, overwrite=options.overwrite,
    )  # fmt: skip
    tell(made)


def run(options: argparse.Namespace) -> None:
    from .run import run_workflow

    settings = {}
    for text in options.set:
        key, equals, value = text.partition("=")
        if not equals or "." not in key:
            parser().error(f"--set {text}: write it as NODE.INPUT=VALUE")
        settings[key] = value
    show_bars(options.quiet)
    host.output_folder = options.output
    tell(run_workflow(options.workflow, settings, lambda step: logging.getLogger(__name__).info("%s", step.name)))


def editor(options: argparse.Namespace) -> None:
    from .editor import open_session, serve

    session = open_session(options.file, options.output, options.frames, options.fps)
    serve(session, options.port, tell, not options.no_browser)


def info(options: argparse.Namespace) -> None:
    from .info import describe, in_words

    found = describe(options.file, *options.size, options.frames, options_of(options))
    print(json.dumps(found, indent=2, default=str) if options.json else in_words(found))


def score(options: argparse.Namespace) -> None:
    from .score import score_video

    frames, fps = read_video(options.video)
    tracks = tracks_of(options.tracks, options.canvas or (frames.shape[2], frames.shape[1]))
    print(score_video(frames, fps, tracks, options.comparison, options.json))


def tell(made: Sequence) -> None:
    for line in made:
        print(line, flush=True)
