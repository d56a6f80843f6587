"""The nodes that turn words, pictures and tracks into what a model is conditioned on. What each system does with them
is the model's affair (`encode_motion`)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..models import ModelError, TextConditioning
from ..trajectory.spread import MOST, spread
from .host import host
from .inputs import InputError, as_tracks, check_image, naming

SIDE_STEP = 16  # pixels: every family's widths and heights are multiples of it


class TrajectoryTextEncode:
    CATEGORY = "Trajectory/conditioning"
    DESCRIPTION = "Encodes the prompt and the negative prompt with the text encoder of the video model."
    RETURN_TYPES = ("TRAJECTORY_TEXT",)
    RETURN_NAMES = ("text",)
    OUTPUT_TOOLTIPS = ("Both prompts, encoded, for Trajectory Sampler.",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "text_encoder": ("TRAJECTORY_TEXT_ENCODER", {"tooltip": "From Trajectory Text Encoder Loader."}),
                "positive": (
                    "STRING",
                    {"default": "", "multiline": True, "dynamicPrompts": True,
                     "tooltip": "What the video shows and how things move. Describe the motion too: it helps the tracks."},
                ),
                "negative": (
                    "STRING",
                    {"default": "", "multiline": True, "dynamicPrompts": True,
                     "tooltip": "What to avoid. Used where the sampler's cfg is not 1; may stay empty."},
                ),
            }
        }  # fmt: skip

    def encode(self, text_encoder, positive: str, negative: str = ""):
        host.ready(text_encoder)
        tokens = []
        for name, prompt in (("positive", positive), ("negative", negative)):
            host.check_cancelled()
            with naming(name):
                tokens.append(text_encoder.encode(prompt).float().cpu()[None])
        return (TextConditioning(*tokens),)


class TrajectoryTextFromConditioning:
    CATEGORY = "Trajectory/conditioning"
    DESCRIPTION = (
        "Takes prompts that ComfyUI's own nodes have encoded (CLIP Loader of type wan, then CLIP Text Encode), so that a text "
        "encoder already in use is not loaded twice."
    )
    RETURN_TYPES = ("TRAJECTORY_TEXT",)
    RETURN_NAMES = ("text",)
    OUTPUT_TOOLTIPS = ("Both prompts, for Trajectory Sampler.",)
    FUNCTION = "convert"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {"positive": ("CONDITIONING", {"tooltip": "The encoded prompt."})},
            "optional": {
                "negative": ("CONDITIONING", {"tooltip": "The encoded negative prompt; not needed where cfg is 1."})
            },
        }

    def convert(self, positive, negative=None):
        tokens = tokens_of(positive, "positive")
        return (TextConditioning(tokens, None if negative is None else tokens_of(negative, "negative")),)


def tokens_of(conditioning, node_input: str) -> Tensor:
    """The one tensor [1, tokens, dim] of a ComfyUI CONDITIONING, a list of (tensor, options) pairs."""
    try:
        tokens = [entry[0] for entry in conditioning]
        count, shape = len(tokens), tokens[0].shape
    except (TypeError, IndexError, AttributeError) as error:
        raise InputError(f"{node_input}: this is no CONDITIONING ({type(conditioning).__name__}).") from error
    if count != 1:
        raise InputError(f"{node_input}: {count} conditionings are combined here; video models take one prompt. Use one.")
    if len(shape) != 3 or shape[0] != 1:
        raise InputError(f"{node_input}: the conditioning is {list(shape)}; [1, tokens, dim] is needed.")
    return tokens[0].float().cpu()


class TrajectoryEncode:
    CATEGORY = "Trajectory/conditioning"
    DESCRIPTION = (
        "Puts the tracks and the start image into the form that the model was trained to follow. The second output shows "
        "what the model is given."
    )
    RETURN_TYPES = ("TRAJECTORY_MOTION", "IMAGE")
    RETURN_NAMES = ("motion", "shown")
    OUTPUT_TOOLTIPS = (
        "The motion, for Trajectory Sampler.",
        "What the model is shown: a picture for each latent frame, light where the tracks carry the start image.",
    )
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        size = {"min": 0, "max": 8192, "step": SIDE_STEP}
        share = {"min": 0.0, "max": 1.0, "step": 0.01}
        return {
            "required": {
                "model": ("TRAJECTORY_MODEL", {"tooltip": "From Trajectory Model Loader."}),
                "vae": ("TRAJECTORY_VAE", {"tooltip": "From Trajectory VAE Loader; of the same system as the model."}),
                "width": (
                    "INT",
                    {"default": 0, **size, "tooltip": "Width of the video in pixels. 0: as suits the model and the start image."},
                ),
                "height": (
                    "INT",
                    {"default": 0, **size, "tooltip": "Height of the video in pixels. 0: as suits the model and the start image."},
                ),
                "frames": (
                    "INT",
                    {"default": 0, "min": 0, "max": 1025, "tooltip": "Frames of the video, 4n + 1. 0: as many as the model was made for."},
                ),
                "fit": (
                    ["crop", "stretch"],
                    {"tooltip": "Where the start image has other proportions than the video. crop: its middle is used, tracks follow. "
                                "stretch: all of it, distorted, as ATI's own script does."},
                ),
                "strength": (
                    "FLOAT",
                    {"default": 1.0, "min": 0.0, "max": 2.0, "step": 0.05,
                     "tooltip": "How strongly the tracks act. 1 is as trained, 0 ignores them."},
                ),
                "start_percent": (
                    "FLOAT",
                    {"default": 0.0, **share, "tooltip": "From which share of the sampling steps on the tracks act. 0: from the first."},
                ),
                "end_percent": (
                    "FLOAT",
                    {"default": 1.0, **share, "tooltip": "Up to which share of the sampling steps the tracks act. 1: to the last."},
                ),
                "method": (
                    ["auto", "ati", "none"],
                    {"tooltip": "How tracks enter the model. auto: ati, if the file says or is named so. none: plain "
                                "image-to-video, the tracks are not used."},
                ),
                "expand_points": (
                    "INT",
                    {"default": 1, "min": 1, "max": MOST,
                     "tooltip": "Turns each track into this many nearby ones that move along with it: one drawn point is little "
                                "guidance, about five are followed more closely. 1: as drawn."},
                ),
                "expand_radius": (
                    "FLOAT",
                    {"default": 4.0, "min": 0.1, "max": 50.0, "step": 0.1,
                     "tooltip": "How far from the drawn track the added ones lie, in percent of the shorter side. They should "
                                "still lie on the thing that moves."},
                ),
            },
            "optional": {
                "tracks": ("TRACKS", {"tooltip": "The trajectories to follow. Any number of frames: they are fitted to the clip."}),
                "start_image": ("IMAGE", {"tooltip": "The first frame of the video. Image-to-video models need it."}),
                "image_encoder": (
                    "CLIP_VISION",
                    {"tooltip": "CLIP vision ViT-H, from Trajectory Image Encoder Loader or Load CLIP Vision. ATI and Wan 2.1 "
                                "image-to-video were trained with it."},
                ),
                "clip_vision_output": (
                    "CLIP_VISION_OUTPUT",
                    {"tooltip": "From ComfyUI's CLIP Vision Encode (crop: none), instead of an image encoder."},
                ),
                "temperature": (
                    "FLOAT",
                    {"default": 0.0, "min": 0.0, "max": 10000.0, "step": 1.0,
                     "tooltip": "ATI: how narrowly a point acts. Higher is narrower. 0: as the model was trained (220 for ATI 14B)."},
                ),
                "topk": (
                    "INT",
                    {"default": 0, "min": 0, "max": 64,
                     "tooltip": "ATI: how many tracks may act on one place. 0: as the model was trained (2 for ATI 14B)."},
                ),
            },
        }  # fmt: skip

    def encode(
        self, model, vae, width: int = 0, height: int = 0, frames: int = 0, fit: str = "crop", strength: float = 1.0,
        start_percent: float = 0.0, end_percent: float = 1.0, method: str = "auto", expand_points: int = 1,
        expand_radius: float = 4.0, tracks=None, start_image: Tensor | None = None, image_encoder=None,
        clip_vision_output=None, temperature: float = 0.0, topk: int = 0,
    ):  # fmt: skip
        image = None if start_image is None else check_image(start_image, "start_image")[:1]
        width, height = video_size(model.defaults, image, width, height)
        frames = frames or model.defaults["frames"]
        with naming("width, height, frames"):
            model.check_size(width, height, frames)
        if tracks is not None:
            tracks = as_tracks(tracks, "tracks")
            with naming("expand_points, expand_radius"):
                side = min(tracks.canvas or (width, height))
                tracks = spread(tracks, expand_points, side * expand_radius / 100)
        if image is not None:
            host.ready(vae, working_bytes=vae_bytes(width, height, vae))
        try:
            motion = model.encode_motion(
                tracks, vae=vae, image=image, width=width, height=height, frames=frames, fit=fit, strength=strength,
                image_tokens=image_tokens(image, image_encoder, clip_vision_output), start_percent=start_percent,
                end_percent=end_percent, method=method, topk=topk or None, temperature=temperature or None,
            )  # fmt: skip
        except ModelError as error:
            raise InputError(f"model, vae, tracks or start_image: {error}") from error
        shown = motion.shown
        if shown is None:
            shown = torch.zeros(1, height, width, 3) if image is None else image
        return motion, shown.float().cpu()


def image_tokens(image: Tensor | None, image_encoder, output) -> Tensor | None:
    """[1, tokens, dim] of the start image, from an encoder or ready-made from ComfyUI's CLIP Vision Encode."""
    if image_encoder is not None and output is not None:
        raise InputError("image_encoder, clip_vision_output: both are connected. Connect one of them.")
    if image_encoder is not None and image is not None:
        host.check_cancelled()
        output = image_encoder.encode_image(image, crop=False)
    if output is None:
        return None
    tokens = getattr(output, "penultimate_hidden_states", None)
    if tokens is None:
        raise InputError("clip_vision_output: it holds no penultimate_hidden_states. Use CLIP vision ViT-H.")
    return tokens[:1].float().cpu()


def video_size(defaults: dict, image: Tensor | None, width: int, height: int) -> tuple[int, int]:
    """Fills in what is 0: the model's own area at the image's proportions, in steps of 16 pixels.

    A model whose own size is a square was trained on squares alone and keeps it. defaults: `width` and `height` of the
    model in pixels; image: [1, h, w, 3].
    """
    own_width, own_height = defaults["width"], defaults["height"]
    aspect = own_width / own_height
    if image is not None and aspect != 1:
        aspect = image.shape[2] / image.shape[1]
    if not width and not height:
        width, height = math.sqrt(own_width * own_height * aspect), math.sqrt(own_width * own_height / aspect)
    width, height = width or height * aspect, height or width / aspect
    return tuple(max(SIDE_STEP, round(side / SIDE_STEP) * SIDE_STEP) if isinstance(side, float) else side
                 for side in (width, height))  # fmt: skip


def vae_bytes(width: int, height: int, vae) -> int:
    """About what encoding or decoding of a few frames at once needs: comfy/sd.py:VAE counts 7000 values a pixel and pass."""
    return 7000 * width * height * vae.dtype.itemsize
