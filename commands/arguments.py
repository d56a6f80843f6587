"""What can be asked of the command line, and the help that teaches it. Does nothing of it: that is cli.py."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from ..models import DTYPES, EMBEDDED, SCHEDULERS
from ..models.common.options import ATTENTION, GUIDANCE, STEP_CACHES
from ..trajectory.spread import MOST
from .extras import add_extras

EMBEDDED_SPREAD = {"expand_points": 9, "expand_radius": 8.0}  # what the embedded model was trained for

ABOUT = """\
Draw how things should move, and a video model follows: ATI (Wan 2.1), Tora (CogVideoX) and EasyAnimate V5.1,
without ComfyUI.

  python -m comfyui_trajectory generate
      makes a short video from the photograph, the tracks and the small model that come along
  python -m comfyui_trajectory COMMAND --help
      explains a command, with examples"""

GENERATE = """\
Makes a video in which the drawn points of a picture move along their tracks.
Writes video.mp4, overlay.mp4 (with the tracks drawn on it) and contact_sheet.png into the output folder.

Without --image and --tracks it uses the example that comes along; without --model an embedded model, which is
small: it shows the idea on any machine within a minute. ATI 14B makes the real thing."""

GENERATE_EXAMPLES = """\
examples:
  the example that comes along, into ./output:
    python -m comfyui_trajectory generate

  your own picture and a path for one of its points, in pixels of the picture:
    python -m comfyui_trajectory generate --image cat.jpg --tracks '[[220, 310], [300, 250], [420, 240]]'

  ATI 14B, with the files of a ComfyUI installation (names are looked for in $TRAJECTORY_MODELS/diffusion_models, …):
    export TRAJECTORY_MODELS=~/ComfyUI/models
    python -m comfyui_trajectory generate --image fish.jpg --tracks fish.pth --prompt 'a koi pond' \\
        --model Wan2_1-I2V-ATI-14B_fp8_e4m3fn.safetensors --vae wan_2.1_vae.safetensors \\
        --text-encoder umt5_xxl_fp8_e4m3fn_scaled.safetensors --image-encoder clip_vision_h.safetensors

  Tora, text-to-video, with two of its trajectory files:
    python -m comfyui_trajectory generate --image none --tracks circle.txt wave.txt --prompt 'two kites over a beach' \\
        --model CogVideoX_5b.safetensors --motion fuser.safetensors --vae cogvideox_vae_bf16.safetensors \\
        --text-encoder t5xxl_fp16.safetensors

  more points around each drawn one, which are followed more closely:
    python -m comfyui_trajectory generate --image cat.jpg --tracks cat.json --expand-points 5

  EasyAnimate V5.1, from the folder of a release: the camera slides to the left and comes nearer
    python -m comfyui_trajectory generate --image none --camera 'Pan Left + Zoom In' --prompt 'a sunny garden' \\
        --model EasyAnimateV5.1-7b-zh-Control-Camera --vae EasyAnimateV5.1-7b-zh-Control-Camera \\
        --text-encoder EasyAnimateV5.1-7b-zh-Control-Camera"""

EXAMPLES_ABOUT = """\
Runs a list of examples as ATI's demo does: a YAML list of entries with image, text and track, files beside the list.
Writes outputs/NNN.mp4, outputs_vis/NNN_viz.mp4 (with the tracks) and images_tracks/NN.jpg (tracks on the picture)."""

RUN_ABOUT = """\
Runs a workflow file without ComfyUI, through the very nodes that ComfyUI runs. Files saved in the browser and files in
API format are read. Pictures are taken from ./input or from a path; what is saved goes into the output folder."""

INFO_ABOUT = """\
Says what a file is without loading it: for a checkpoint its system, variant, sizes, number format, the memory it
needs and the options with which it fits graphics cards; for a track file how many tracks and frames, on which canvas,
and where they go."""

EDITOR_ABOUT = """\
Opens the spline editor in the browser, over a picture or a video, and saves the drawn tracks to a file.
The page is served on this machine alone. The drawing is kept in the .json file: the same command goes on with it."""

SCORE_ABOUT = """\
Measures how closely a video follows tracks: its points are followed optically from the tracks' first positions.
Errors are in pixels of the video and in percent of its shorter side."""


def make_parser(actions: Mapping[str, Callable[[argparse.Namespace], None]]) -> argparse.ArgumentParser:
    """What can be asked for; the chosen one of `actions` stands in `action` of what is parsed."""
    def raw(**options) -> dict:
        return {"formatter_class": argparse.RawDescriptionHelpFormatter, **options}

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-q", "--quiet", action="store_true", help="no progress bars")
    common.add_argument("-v", "--verbose", action="store_true", help="say more, and where an error came from")
    top = argparse.ArgumentParser(prog="python -m comfyui_trajectory", **raw(description=ABOUT))
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, help: str, about: str, examples: str | None = None) -> argparse.ArgumentParser:
        added = commands.add_parser(name, parents=[common], help=help, **raw(description=about, epilog=examples))
        added.set_defaults(action=actions[name])
        return added

    one = command("generate", "make a video from a picture and tracks", GENERATE, GENERATE_EXAMPLES)
    one.add_argument("--image", type=Path, metavar="FILE", help="the start picture; 'none' for text-to-video models")
    one.add_argument(
        "--tracks", nargs="+", metavar="FILE|JSON",
        help="track files (.json .pth .npz .npy, Tora's .txt), or coordinates as JSON text, in pixels of the picture; "
             "'none' for a video without tracks",
    )  # fmt: skip
    one.add_argument(
        "--control-video", type=Path, metavar="FILE",
        help="a control video of EasyAnimate, or for Tora a flow video in place of tracks",
    )  # fmt: skip
    one.add_argument(
        "--reference-video", type=Path, metavar="FILE",
        help="Tora: a video whose motion is taken, in place of tracks",
    )  # fmt: skip
    one.add_argument("--prompt", default=None, metavar="TEXT", help="what the video shows and how things move")
    one.add_argument(
        "--output", type=Path, default=Path("output"), metavar="FOLDER", help="where the files go (default: ./output)"
    )
    add_models(one)
    add_options(one)
    add_sampling(one)
    add_extras(one)

    many = command(
        "examples",
        "run a list of examples in ATI's format",
        EXAMPLES_ABOUT,
        """\
examples:
  python -m comfyui_trajectory examples ATI/examples/test.yaml --output samples""",
    )
    many.add_argument("list", type=Path, metavar="LIST.yaml", help="the list")
    many.add_argument(
        "--output",
        type=Path,
        default=Path("samples"),
        metavar="FOLDER",
        help="where the folders go (default: ./samples)",
    )
    many.add_argument("--overwrite", action="store_true", help="make videos again that exist")
    add_models(many)
    add_options(many)
    add_sampling(many)

    graph = command(
        "run",
        "run a workflow file without ComfyUI",
        RUN_ABOUT,
        """\
examples:
  python -m comfyui_trajectory run workflows/ati_embedded.json
  python -m comfyui_trajectory run my.json --set TrajectorySampler.seed=7 --set TrajectoryEncode.strength=0.8""",
    )
    graph.add_argument("workflow", type=Path, metavar="WORKFLOW.json", help="the workflow")
    graph.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NODE.INPUT=VALUE",
        help="put another value in; NODE is a number or type",
    )
    graph.add_argument(
        "--output", type=Path, default=Path("output"), metavar="FOLDER", help="where saved files go (default: ./output)"
    )

    draw = command(
        "editor",
        "draw tracks over a picture or a video, in the browser",
        EDITOR_ABOUT,
        """\
examples:
  python -m comfyui_trajectory editor cat.jpg
      saves cat.tracks.json; then: python -m comfyui_trajectory generate --image cat.jpg --tracks cat.tracks.json
  python -m comfyui_trajectory editor bikes.mp4 --output bikes.pth
      tracks for ATI's own scripts; the drawing is kept in bikes.json""",
    )
    draw.add_argument("file", type=Path, metavar="IMAGE_OR_VIDEO", help="what to draw on")
    draw.add_argument(
        "--output", type=Path, metavar="FILE", help=".json, .pth, .npz or .npy (default: NAME.tracks.json, here)"
    )
    draw.add_argument(
        "--frames", type=int, default=0, metavar="N", help="frames of the clip (default: the video's; 81 for a picture)"
    )
    draw.add_argument(
        "--fps", type=float, default=0.0, metavar="X", help="frames per second (default: the video's; 16 for a picture)"
    )
    draw.add_argument("--port", type=int, default=0, metavar="N", help="of the page (default: one that is free)")
    draw.add_argument("--no-browser", action="store_true", help="only print the address")

    about = command(
        "info",
        "say what a checkpoint or track file is",
        INFO_ABOUT,
        """\
examples:
  python -m comfyui_trajectory info Wan2_1-I2V-ATI-14B_fp8_e4m3fn.safetensors
  python -m comfyui_trajectory info fish.pth --json""",
    )
    about.add_argument(
        "file", type=Path, metavar="FILE", help="a checkpoint (file, folder or index of shards) or a track file"
    )
    about.add_argument(
        "--size", type=size, default=(0, 0), metavar="WxH", help="memory for a clip of this size (default: as usual)"
    )
    about.add_argument("--frames", type=int, default=0, metavar="N", help="and of so many frames")
    held = about.add_argument_group("how a model is held and run: what its memory and the cards that it fits are told for")
    add_dtype(held)
    add_memory(held)
    about.add_argument("--json", action="store_true", help="as JSON, for programs")

    judge = command(
        "score",
        "measure how closely a video follows tracks",
        SCORE_ABOUT,
        """\
examples:
  python -m comfyui_trajectory score output/video.mp4 tracks.json
  python -m comfyui_trajectory score outputs/000.mp4 fish.pth --canvas 1920x1080 --comparison drawn.mp4""",
    )
    judge.add_argument("video", type=Path, metavar="VIDEO", help="the video")
    judge.add_argument("tracks", metavar="TRACKS", help="a track file, or coordinates as JSON text")
    judge.add_argument(
        "--canvas",
        type=size,
        metavar="WxH",
        help="what the tracks were drawn on, if the file does not say (default: the video)",
    )
    judge.add_argument("--comparison", type=Path, metavar="FILE.mp4", help="write a video with both drawn on it")
    judge.add_argument("--json", action="store_true", help="as JSON, for programs")
    return top


def add_models(target: argparse.ArgumentParser) -> None:
    group = target.add_argument_group("model files (default: the embedded model)")
    group.add_argument(
        "--embedded", choices=EMBEDDED, help="the small model of this system that comes along (default: ati)"
    )
    group.add_argument("--model", metavar="FILE", help="the video model")
    group.add_argument(
        "--motion", metavar="FILE", help="Tora's parts, where they are files of their own: fuser*.safetensors"
    )
    group.add_argument(
        "--lora", nargs="+", action="append", default=[], metavar=("FILE", "STRENGTH"),
        help="a LoRA for the video model, and how strongly it acts (default: 1); may be given several times",
    )  # fmt: skip
    group.add_argument("--vae", metavar="FILE", help="its VAE")
    group.add_argument("--text-encoder", metavar="FILE", help="its text encoder")
    group.add_argument("--image-encoder", metavar="FILE", help="its image encoder (CLIP vision)")
    add_dtype(group)
    group.add_argument(
        "--device",
        metavar="NAME",
        help="where to compute, such as cuda:1 or cpu (default: the first GPU, else the CPU)",
    )


def add_dtype(group) -> None:
    group.add_argument(
        "--dtype", choices=DTYPES, default="auto", help="number format of the model's weights (default: as in the file)"
    )


def add_memory(group) -> None:
    """What decides how much memory a step takes."""
    group.add_argument(
        "--blocks-on-device", type=int, default=0, metavar="N",
        help="blocks of the model that a GPU holds at once; the others wait in host memory (default: 0, all)",
    )  # fmt: skip
    group.add_argument(
        "--prefetch", type=int, default=1, metavar="N", help="blocks that are on their way meanwhile (default: 1)"
    )
    group.add_argument("--guidance", choices=GUIDANCE, default="sequential", help="how both prompts are computed")
    group.add_argument(
        "--skip-steps", choices=STEP_CACHES, default="off", help="leave out steps that change little, by which method"
    )
    group.add_argument("--fp8-products", action="store_true", help="multiply fp8 weights as fp8, where the GPU can")


def add_options(target: argparse.ArgumentParser) -> None:
    group = target.add_argument_group("memory and speed (by default nothing that changes the video)")
    add_memory(group)
    group.add_argument(
        "--skip-threshold", type=float, default=0.1, metavar="X",
        help="how much change may add up before a step is computed again (default: 0.1)",
    )  # fmt: skip
    group.add_argument("--attention", choices=ATTENTION, default="auto", help="what computes the attention")
    group.add_argument("--compile", action="store_true", help="compile the model's blocks with torch.compile")


def add_sampling(target: argparse.ArgumentParser) -> None:
    group = target.add_argument_group("the video (defaults are what suits the model)")
    group.add_argument(
        "--size",
        type=size,
        default=(0, 0),
        metavar="WxH",
        help="in pixels (default: the model's area, the picture's shape)",
    )
    group.add_argument("--frames", type=int, default=0, metavar="N", help="4n + 1; Tora: 8n + 1")
    group.add_argument(
        "--fit", choices=("crop", "stretch"), default="crop", help="how a picture of another shape is fitted"
    )
    group.add_argument("--steps", type=int, default=0, metavar="N", help="sampling steps")
    group.add_argument("--cfg", type=float, default=0.0, metavar="X", help="guidance; 1 is off")
    group.add_argument("--shift", type=float, default=0.0, metavar="X", help="shift of the noise schedule")
    group.add_argument("--scheduler", choices=("auto", *SCHEDULERS), default="auto", help="the solver")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="chooses the noise (default: 0)")
    group.add_argument("--negative", default="", metavar="TEXT", help="what to avoid")
    group.add_argument(
        "--tile", type=int, default=0, metavar="N", help="decode in tiles of so many pixels, for less memory"
    )
    group = target.add_argument_group("how the tracks act")
    group.add_argument("--strength", type=float, default=1.0, metavar="X", help="0 ignores them, 1 is as trained")
    group.add_argument(
        "--start-percent", type=float, default=0.0, metavar="X", help="from which share of the steps on, 0 to 1"
    )
    group.add_argument(
        "--end-percent", type=float, default=1.0, metavar="X", help="up to which share of the steps, 0 to 1"
    )
    group.add_argument(
        "--method", choices=("auto", "ati", "tora", "none"), default="auto", help="how tracks enter the model"
    )
    group.add_argument(
        "--expand-points",
        type=int,
        metavar="N",
        choices=range(1, MOST + 1),
        help=f"points for each track, 1 to {MOST} (default: 1; generate with the embedded model: "
             f"{EMBEDDED_SPREAD['expand_points']})",
    )
    group.add_argument(
        "--expand-radius", type=float, metavar="X",
        help="how far around it, in %% of the shorter side (default: 4; generate with the embedded model: "
             f"{EMBEDDED_SPREAD['expand_radius']:g})",
    )
    group.add_argument("--temperature", type=float, default=0.0, metavar="X", help="ATI: how narrowly a point acts")
    group.add_argument("--topk", type=int, default=0, metavar="N", help="ATI: how many tracks act on one place")


def size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(side) for side in text.lower().replace("*", "x").split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no size; write it as 832x480") from None
    return width, height
