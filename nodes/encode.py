"""The nodes that turn words, pictures and tracks into what a model is conditioned on. What each system does with them
is the model's affair (`encode_motion`)."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ..models import ModelError, TextConditioning
from ..models.common.pictures import cover, fit_tracks, to_pixels
from ..trajectory import Tracks
from ..trajectory.spread import MOST, spread
from .camera import check_poses
from .coding import coded
from .host import file_name, host
from .inputs import InputError, as_tracks, check_image, choice, integer, naming, number, socket, text

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
                "text_encoder": socket("TRAJECTORY_TEXT_ENCODER", "From Trajectory Text Encoder Loader."),
                "positive": text(
                    "",
                    "What the video shows and how things move. Describe the motion too: it helps the tracks.",
                    multiline=True, dynamicPrompts=True,
                ),
                "negative": text(
                    "",
                    "What to avoid. Used where the sampler's cfg is not 1; may stay empty. The help page has what the "
                    "models' own scripts use.",
                    multiline=True, dynamicPrompts=True,
                ),
            },
        }  # fmt: skip

    def encode(self, text_encoder, positive: str, negative: str = ""):
        host.ready(text_encoder, doing="encoding the prompts")
        tokens = []
        for name, prompt in (("positive", positive), ("negative", negative)):
            host.check_cancelled()
            with naming(name):
                tokens.append(text_encoder.encode(prompt).float().cpu()[None])
        return (TextConditioning(*tokens, encoder=file_name(text_encoder)),)


class TrajectoryTextFromConditioning:
    CATEGORY = "Trajectory/conditioning"
    DESCRIPTION = (
        "Takes prompts that ComfyUI's own nodes have encoded (Load CLIP of type wan for ATI, of type cogvideox for "
        "Tora, then CLIP Text Encode), so that a text encoder already in use is not loaded twice."
    )
    RETURN_TYPES = ("TRAJECTORY_TEXT",)
    RETURN_NAMES = ("text",)
    OUTPUT_TOOLTIPS = ("Both prompts, for Trajectory Sampler.",)
    FUNCTION = "convert"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "positive": socket("CONDITIONING", "The encoded prompt."),
            },
            "optional": {
                "negative": socket("CONDITIONING", "The encoded negative prompt; not needed where cfg is 1."),
            },
        }  # fmt: skip

    def convert(self, positive, negative=None):
        tokens = [tokens_of(positive, "positive"), None if negative is None else tokens_of(negative, "negative")]
        masked = any(is_masked(conditioning) for conditioning in (positive, negative) if conditioning is not None)
        return (TextConditioning(*tokens, encoder="the encoder of the connected CONDITIONING", masked=masked),)


def tokens_of(conditioning, node_input: str) -> Tensor:
    """The one tensor [1, tokens, dim] of a ComfyUI CONDITIONING, a list of (tensor, options) pairs."""
    try:
        tokens = [entry[0] for entry in conditioning]
        count, shape = len(tokens), tokens[0].shape
    except (TypeError, IndexError, AttributeError) as error:
        raise InputError(f"{node_input}: this is no CONDITIONING ({type(conditioning).__name__}).") from error
    if count != 1:
        raise InputError(
            f"{node_input}: {count} conditionings are combined here; video models take one prompt. Use one."
        )
    if len(shape) != 3 or shape[0] != 1:
        raise InputError(f"{node_input}: the conditioning is {list(shape)}; [1, tokens, dim] is needed.")
    return tokens[0].float().cpu()


def is_masked(conditioning) -> bool:
    """Whether the tokens of a checked CONDITIONING were encoded without a look at the padding: core's encoders then
    give the mask along (comfy/sd1_clip.py:SDClipModel, return_attention_masks)."""
    options = conditioning[0][1] if len(conditioning[0]) > 1 else {}
    mask = options.get("attention_mask")
    return mask is not None and not bool(mask.all())


class TrajectoryEncode:
    CATEGORY = "Trajectory/conditioning"
    DESCRIPTION = (
        "Puts the tracks and the start image into the form that the model was trained to follow. The second output "
        "shows what the model is given."
    )
    RETURN_TYPES = ("TRAJECTORY_MOTION", "IMAGE", "TRACKS")
    RETURN_NAMES = ("motion", "shown", "tracks")
    OUTPUT_TOOLTIPS = (
        "The motion, for Trajectory Sampler.",
        "What the model is shown. ATI: a picture for each latent frame, light where the tracks carry the start image. "
        "Tora: the flow video.",
        "The tracks in pixels and frames of the video, for Trajectory Preview and Trajectory Score on it.",
    )
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "model": socket("TRAJECTORY_MODEL", "From Trajectory Model Loader."),
                "vae": socket("TRAJECTORY_VAE", "From Trajectory VAE Loader; of the same system as the model."),
                "width": integer(
                    0, 0, 8192,
                    "Width of the video in pixels. 0: as suits the model and the start image.", step=SIDE_STEP,
                ),
                "height": integer(
                    0, 0, 8192,
                    "Height of the video in pixels. 0: as suits the model and the start image.", step=SIDE_STEP,
                ),
                "frames": integer(
                    0, 0, 1025,
                    "Frames of the video, 4n + 1 (Tora: 8n + 1). 0: as many as the model was made for.",
                ),
                "fit": choice(
                    ["crop", "stretch"],
                    "Where the start image has other proportions than the video. crop: its middle is used, "
                    "tracks follow. stretch: all of it, distorted, as ATI's own script does.",
                ),
                "strength": number(
                    1.0, 0.0, 2.0, 0.05,
                    "How strongly the tracks act. 1 is as trained, 0 ignores them.",
                ),
                "start_percent": number(
                    0.0, 0.0, 1.0, 0.01,
                    "From which share of the sampling steps on the tracks act. 0: from the first.",
                ),
                "end_percent": number(
                    1.0, 0.0, 1.0, 0.01,
                    "Up to which share of the sampling steps the tracks act. 1: to the last.",
                ),
                "method": choice(
                    ["auto", "ati", "none", "tora"],
                    "How tracks enter the model. auto: as the model was trained (ati, if the file says or is named "
                    "so). none: the plain model, the tracks are not used.",
                ),
                "expand_points": integer(
                    1, 1, MOST,
                    "Turns each track into this many nearby ones that move along with it: one drawn point is "
                    "little guidance, about five are followed more closely. 1: as drawn.",
                ),
                "expand_radius": number(
                    4.0, 0.1, 50.0, 0.1,
                    "How far from the drawn track the added ones lie, in percent of the shorter side. They "
                    "should still lie on the thing that moves.",
                ),
            },
            "optional": {
                "tracks": socket(
                    "TRACKS",
                    "The trajectories to follow. Any number of frames: they are fitted to the clip.",
                ),
                "start_image": socket("IMAGE", "The first frame of the video. Image-to-video models need it."),
                "image_encoder": socket(
                    "CLIP_VISION",
                    "CLIP vision ViT-H, from Trajectory Image Encoder Loader or Load CLIP Vision. ATI and Wan "
                    "2.1 image-to-video were trained with it.",
                ),
                "clip_vision_output": socket(
                    "CLIP_VISION_OUTPUT",
                    "From ComfyUI's CLIP Vision Encode (crop: none), instead of an image encoder.",
                ),
                "temperature": number(
                    0.0, 0.0, 10000.0, 1.0,
                    "ATI: how narrowly a point acts. Higher is narrower. 0: as the model was trained (220 for "
                    "ATI 14B).",
                ),
                "topk": integer(
                    0, 0, 64,
                    "ATI: how many tracks may act on one place. 0: as the model was trained (2 for ATI 14B).",
                ),
                "end_image": socket("IMAGE", "EasyAnimate InP: the last frame of the video."),
                "control_video": socket(
                    "IMAGE",
                    "EasyAnimate Control: a video of edges, depth, poses or lines to follow, at least as long as the "
                    "clip. With tracks too, both act. Tora: a flow video in place of tracks, such as Trajectory Flow "
                    "From Video gives.",
                ),
                "camera_poses": socket(
                    "TRAJECTORY_CAMERA",
                    "EasyAnimate Control-Camera: from Trajectory Camera Poses. They are fitted to the clip.",
                ),
                "video": socket(
                    "IMAGE",
                    "EasyAnimate: a video to change, at least as long as the clip. The sampler's denoise says how "
                    "much.",
                ),
                "mask": socket(
                    "MASK",
                    "EasyAnimate InP: what of `video` is made anew (white); one for the clip, or one a frame.",
                ),
                "image_noise_seed": integer(
                    0, 0, 2**64 - 1,
                    "EasyAnimate InP: chooses the little noise that it is shown its pictures with. The sampler's seed "
                    "here gives the draw of the official scripts.",
                ),
            },
        }  # fmt: skip

    def encode(
        self, model, vae, width: int = 0, height: int = 0, frames: int = 0, fit: str = "crop", strength: float = 1.0,
        start_percent: float = 0.0, end_percent: float = 1.0, method: str = "auto", expand_points: int = 1,
        expand_radius: float = 4.0, tracks=None, start_image: Tensor | None = None, image_encoder=None,
        clip_vision_output=None, temperature: float = 0.0, topk: int = 0, end_image: Tensor | None = None,
        control_video: Tensor | None = None, camera_poses=None, video: Tensor | None = None, mask: Tensor | None = None,
        image_noise_seed: int = 0,
    ):  # fmt: skip
        image = None if start_image is None else check_image(start_image, "start_image")[: model.start_images]
        pictures = {"end_image": end_image, "control_video": control_video, "video": video}
        pictures = {name: check_image(given, name) for name, given in pictures.items() if given is not None}
        camera = None if camera_poses is None else check_poses(camera_poses, "camera_poses")
        extras = {**pictures, "camera": camera, "mask": mask, "noise_seed": image_noise_seed or None,
                  "temperature": temperature or None, "topk": topk or None}  # fmt: skip
        extras = {name: given for name, given in extras.items() if given is not None}
        for name in extras:
            if name not in model.extras:
                raise InputError(
                    f"{INPUTS.get(name, name)}: {model.path.name} takes none. Disconnect it, or set it to 0."
                )
        shape = next((given for given in (image, *pictures.values()) if given is not None), None)
        width, height = video_size(model, shape, width, height)
        frames = frames or clip_length(model, *(len(v) for n, v in pictures.items() if n != "end_image"))
        with naming("width, height, frames"):
            model.check_size(width, height, frames)
        on_video = None
        if tracks is not None:
            tracks = as_tracks(tracks, "tracks")
            with naming("tracks"):
                on_video = tracks_on_video(tracks, image, width, height, fit).resample(frames).to_comfy()
            with naming("expand_points, expand_radius"):
                side = min(tracks.canvas or (width, height))
                tracks = spread(tracks, expand_points, side * expand_radius / 100)
        if "image_tokens" in model.extras:
            extras["image_tokens"] = image_tokens(image, image_encoder, clip_vision_output)

        def encoded(tile: int | None):
            return model.encode_motion(
                tracks, vae=vae, image=image, width=width, height=height, frames=frames, fit=fit, strength=strength,
                start_percent=start_percent, end_percent=end_percent, method=method, **extras,
                **({} if tile is None else {"tile": tile}),
            )  # fmt: skip

        try:
            with vae.watched(host.check_cancelled):
                if shape is None and tracks is None:
                    motion = encoded(None)  # of nothing that a VAE would see
                else:
                    motion = coded(encoded, vae, "encode", (width, height, frames), tiles="tile" in model.extras)
        except ModelError as error:
            raise InputError(f"model, vae, tracks or start_image: {error}") from error
        shown = motion.shown
        if shown is None:
            shown = torch.zeros(1, height, width, 3) if image is None else image[:1]
        return replace(motion, model=file_name(model)), shown.float().cpu(), on_video


def tracks_on_video(tracks: Tracks, image: Tensor | None, width: int, height: int, fit: str) -> Tracks:
    """The tracks in pixels of the video, after the crop of the start image [1, h, w, 3] that they were drawn on."""
    if image is None:
        return tracks.resize(width, height, source=(width, height))
    _, box = cover(to_pixels(image), width, height, fit)
    return fit_tracks(tracks, image.shape[2], image.shape[1], width, height, box)


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


INPUTS = {"camera": "camera_poses", "noise_seed": "image_noise_seed"}  # where the model's argument is named otherwise


def clip_length(model, *available: int) -> int:
    """The model's usual number of frames, or the most that it can make and a shorter video is enough for."""
    usual, step = model.defaults["frames"], model.frame_step
    return max(1, (min(usual, *available) - 1) // step * step + 1) if available else usual


def video_size(model, image: Tensor | None, width: int, height: int) -> tuple[int, int]:
    """Fills in what is 0: the size that the model was made for, at the image's proportions, in steps of 16 pixels.

    model: with `defaults`: its `width` and `height` in pixels, or `sizes`, the only ones that it was trained on, of
    which the one is taken whose shape is nearest; or with a rule of its own, `size_for`. image: [.., h, w, 3].
    """
    defaults = model.defaults
    if image is not None and not width and not height:
        suitable = model.size_for(image.shape[2], image.shape[1])
        if suitable is not None:
            return suitable
    own = (defaults["width"], defaults["height"])
    aspect = own[0] / own[1] if image is None else image.shape[2] / image.shape[1]
    if not width and not height and "sizes" in defaults:
        return tuple(min(defaults["sizes"], key=lambda size: abs(math.log(size[0] / size[1] / aspect))))
    if not width and not height:
        width, height = math.sqrt(own[0] * own[1] * aspect), math.sqrt(own[0] * own[1] / aspect)
    width, height = width or height * aspect, height or width / aspect
    return tuple(max(SIDE_STEP, round(side / SIDE_STEP) * SIDE_STEP) if isinstance(side, float) else side
                 for side in (width, height))  # fmt: skip
