"""The loader nodes: from a file name to a model on a socket. What a file is, `models` finds out."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch
from torch import Tensor

from ..models import Options, load_image_encoder, load_model, load_text_encoder, load_vae, predict_memory
from ..models.common.checkpoint import open_checkpoint
from ..models.common.description import KINDS
from ..models.common.lora import Lora, read_lora
from ..models.common.memory import advice
from .host import EXAMPLE, EXAMPLES, PlainHost, example_files, host
from .inputs import InputError, choice, naming, number, socket, verdict

log = logging.getLogger(__name__)

NO_FILE = "none"
DTYPE_TOOLTIP = "The number format of the weights. auto: as the file stores them (float32 arithmetic on a CPU). "


def file_input(kind: str, what: str) -> tuple:
    tooltip = f"The file of the {what}, from models/{kind}. 'embedded/…' are the small files that come with this pack."
    return choice(host.model_files(kind), tooltip)


def dtype_input(names: list[str], more: str) -> tuple:
    return choice(names, DTYPE_TOOLTIP + more)


def validate_file(kind: str, name: str, node_input: str) -> bool | str:
    return verdict(lambda: host.model_path(kind, name, node_input))


KIND = {folder: kind for kind, (_, folder, _) in KINDS.items()}  # of what ComfyUI keeps in a folder


def load(loader, kind: str, name: str, node_input: str, weight_dtype: str, **options):
    path = host.model_path(kind, name, node_input)
    with naming(node_input):
        host.make_room(open_checkpoint(path, KIND[kind]).nbytes, kind)
        places = {"device": host.device(kind), "place": host.place(kind)}
        return host.manage(loader(path, dtype=weight_dtype, **places, **options), kind)


class TrajectoryModelLoader:
    CATEGORY = "Trajectory/loaders"
    DESCRIPTION = (
        "Loads a video model that follows tracks (ATI and Wan 2.1, Tora and CogVideoX, EasyAnimate V5.1). Which "
        "system, variant and size it is, is read from the file itself."
    )
    RETURN_TYPES = ("TRAJECTORY_MODEL",)
    RETURN_NAMES = ("model",)
    OUTPUT_TOOLTIPS = ("The model, for Trajectory Encode and Trajectory Sampler.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        dtypes = ["auto", "fp32", "bf16", "fp16", "fp8_e4m3fn", "fp8_e5m2"]
        return {
            "required": {
                "model_name": file_input("diffusion_models", "video model"),
                "weight_dtype": dtype_input(dtypes, "fp8 halves the memory of a bf16 file at a small loss."),
            },
            "optional": {
                "motion_name": choice(
                    [NO_FILE, *host.model_files("diffusion_models")],
                    "Tora's trajectory parts, where they are not in the model's own file: fuser*.safetensors, with its "
                    "traj_extractor*.safetensors beside it. The model is then CogVideoX-5B.",
                ),
                "options": socket(
                    "TRAJECTORY_OPTIONS",
                    "How the model is held in memory and run, from Trajectory Memory Options or Trajectory Speed "
                    "Options.",
                ),
            },
        }  # fmt: skip

    @classmethod
    def VALIDATE_INPUTS(cls, model_name: str, motion_name: str = NO_FILE):
        found = validate_file("diffusion_models", model_name, "model_name")
        if found is True and motion_name != NO_FILE:
            found = validate_file("diffusion_models", motion_name, "motion_name")
        return found

    def load(
        self, model_name: str, weight_dtype: str = "auto", motion_name: str = NO_FILE, options: Options | None = None
    ):  # fmt: skip
        motion = None
        if motion_name != NO_FILE:
            motion = host.model_path("diffusion_models", motion_name, "motion_name")
        options = as_the_host_allows(options or Options())
        given = {"motion": motion, "options": options}
        if isinstance(host, PlainHost) and host.device().type == "cuda":
            path = host.model_path("diffusion_models", model_name, "model_name")
            with naming("model_name"):
                memory = predict_memory(path, motion=motion, dtype=weight_dtype, options=options)
            if sentence := advice(path.name, memory, options, torch.cuda.mem_get_info(host.device())[0]):
                log.warning("%s", sentence)
        return (load(load_model, "diffusion_models", model_name, "model_name", weight_dtype, **given),)


def as_the_host_allows(options: Options) -> Options:
    """Inside ComfyUI, which moves parts of models itself beside those of other nodes and has layers of its own for that
    (lending.py), no block swap and no fp8 products of ours."""
    if options.blocks_on_device and not isinstance(host, PlainHost):
        log.info("blocks_on_device is left to ComfyUI, which loads as much of the model as fits.")
        options = replace(options, blocks_on_device=0)
    if options.fp8_products and not isinstance(host, PlainHost):
        log.warning("fp8_products: not inside ComfyUI, whose layers widen fp8 weights on use; nothing else changes.")
        options = replace(options, fp8_products=False)
    return options


class TrajectoryLora:
    CATEGORY = "Trajectory/loaders"
    DESCRIPTION = (
        "Adds a LoRA to the video model: a style, a motion, or a distilled one that needs a few steps only. Several "
        "may "
        "follow one another. The model that goes in stays as it is."
    )
    RETURN_TYPES = ("TRAJECTORY_MODEL",)
    RETURN_NAMES = ("model",)
    OUTPUT_TOOLTIPS = ("The model with the LoRA.",)
    FUNCTION = "add"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "model": socket("TRAJECTORY_MODEL", "The video model that the LoRA was made for."),
                "lora_name": choice(
                    host.model_files("loras"),
                    "The LoRA file, from models/loras. Files of the official tools, diffusers, Kijai and kohya are "
                    "read.",
                ),
                "strength": number(
                    1.0, -10.0, 10.0, 0.05,
                    "How strongly it acts: 1 is as trained, 0 is without, below 0 the opposite.",
                ),
            }
        }  # fmt: skip

    @classmethod
    def VALIDATE_INPUTS(cls, lora_name: str):
        return validate_file("loras", lora_name, "lora_name")

    def add(self, model, lora_name: str, strength: float = 1.0):
        path = host.model_path("loras", lora_name, "lora_name")
        with naming("lora_name"):
            lora = read_lora(path, model.module, model.lora_keys, strength)
        return (patched_by_host(model, lora) if hasattr(host, "with_patches") else model.with_lora(lora),)


def patched_by_host(model, lora: Lora):
    """The model with the LoRA in the hands of a host that patches weights itself, while it moves them."""
    shapes = {name: value.shape for name, value in model.module.named_parameters()}
    patches = {
        name: host.low_rank_patch(patch.up, patch.down, patch.scale) if patch.diff is None
        else ("diff", (patch.diff.reshape(shapes[name]),))
        for name, patch in lora.patches.items()
    }  # fmt: skip
    return host.with_patches(model, patches, lora.strength)


class TrajectoryVAELoader:
    CATEGORY = "Trajectory/loaders"
    DESCRIPTION = (
        "Loads the VAE that belongs to the video model: it turns pictures into latents and latents into frames."
    )
    RETURN_TYPES = ("TRAJECTORY_VAE",)
    RETURN_NAMES = ("vae",)
    OUTPUT_TOOLTIPS = ("The VAE, for Trajectory Encode and Trajectory Decode.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "vae_name": file_input("vae", "VAE"),
                "weight_dtype": dtype_input(["auto", "fp32", "bf16", "fp16"], "bf16 needs half the memory of fp32."),
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, vae_name: str):
        return validate_file("vae", vae_name, "vae_name")

    def load(self, vae_name: str, weight_dtype: str = "auto"):
        return (load(load_vae, "vae", vae_name, "vae_name", weight_dtype),)


class TrajectoryTextEncoderLoader:
    CATEGORY = "Trajectory/loaders"
    DESCRIPTION = (
        "Loads the text encoder that belongs to the video model (umT5-xxl for ATI and Wan 2.1, T5 v1.1 xxl for Tora, "
        "Qwen2-VL for EasyAnimate). If you already use ComfyUI's own text encoder, connect its CONDITIONING to "
        "Trajectory Text From Conditioning instead."
    )
    RETURN_TYPES = ("TRAJECTORY_TEXT_ENCODER",)
    RETURN_NAMES = ("text_encoder",)
    OUTPUT_TOOLTIPS = ("The text encoder, for Trajectory Text Encode.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        dtypes = ["auto", "fp32", "bf16", "fp16", "fp8_e4m3fn"]
        return {
            "required": {
                "text_encoder_name": file_input("text_encoders", "text encoder"),
                "weight_dtype": dtype_input(dtypes, "fp8 halves the memory of a bf16 file at a small loss."),
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, text_encoder_name: str):
        return validate_file("text_encoders", text_encoder_name, "text_encoder_name")

    def load(self, text_encoder_name: str, weight_dtype: str = "auto"):
        encoder = load(load_text_encoder, "text_encoders", text_encoder_name, "text_encoder_name", weight_dtype)
        folder = encoder.comfy_tokenizer
        if folder and encoder.tokenizer is None and host.own_tokenizer(folder):
            with naming("text_encoder_name"):
                encoder.use_tokenizer(host.own_tokenizer(folder))
        return (encoder,)


class ClipVisionOutput:
    """What CLIP_VISION_OUTPUT carries of ours: the tokens that video models read, [1, tokens, dim]."""

    def __init__(self, tokens: Tensor):
        self.penultimate_hidden_states = tokens

    def __getitem__(self, name: str) -> Tensor:
        return getattr(self, name)


class ClipVision:
    """One of our image encoders on the CLIP_VISION socket, with the one method by which ComfyUI's nodes use it."""

    def __init__(self, encoder):
        self.encoder = encoder

    def encode_image(self, image: Tensor, crop: bool = True) -> ClipVisionOutput:
        """The first picture of `image` [frames, height, width, 3] in 0..1; crop: only its central square is seen."""
        picture = image[:1, ..., :3]
        if crop:
            height, width = picture.shape[1:3]
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            picture = picture[:, top : top + side, left : left + side]
        host.ready(self.encoder, doing="encoding the start image")
        return ClipVisionOutput(self.encoder.encode(picture).float().cpu())


class TrajectoryImageEncoderLoader:
    CATEGORY = "Trajectory/loaders"
    DESCRIPTION = (
        "Loads the image encoder (CLIP vision ViT-H) through which ATI and Wan 2.1 look at the start image. It sits on "
        "ComfyUI's own CLIP_VISION socket: Load CLIP Vision may take its place."
    )
    RETURN_TYPES = ("CLIP_VISION",)
    RETURN_NAMES = ("image_encoder",)
    OUTPUT_TOOLTIPS = ("The image encoder, for Trajectory Encode or CLIP Vision Encode.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "image_encoder_name": file_input("clip_vision", "image encoder"),
                "weight_dtype": dtype_input(["auto", "fp32", "bf16", "fp16"], "fp16 is what is usually stored."),
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, image_encoder_name: str):
        return validate_file("clip_vision", image_encoder_name, "image_encoder_name")

    def load(self, image_encoder_name: str, weight_dtype: str = "auto"):
        encoder = load(load_image_encoder, "clip_vision", image_encoder_name, "image_encoder_name", weight_dtype)
        return (ClipVision(encoder),)


PICTURES = (".jpg", ".png")


class TrajectoryExampleImage:
    CATEGORY = "Trajectory/loaders"
    DESCRIPTION = (
        "A photograph that comes with this pack, so that a first workflow runs as it is. Put Load Image in its "
        "place for your "
        "own picture."
    )
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("image",)
    OUTPUT_TOOLTIPS = ("The photograph.",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        names = [name.removeprefix(EXAMPLE) for name in example_files(PICTURES)]
        return {"required": {"name": choice(names, "Which photograph.")}}

    def load(self, name: str):
        import numpy as np
        from PIL import Image

        if name not in self.INPUT_TYPES()["required"]["name"][0]:
            raise InputError(f"name: there is no example '{name}'.")
        with Image.open(EXAMPLES / name) as picture:
            pixels = np.array(picture.convert("RGB"))
        return (torch.from_numpy(pixels)[None].float() / 255,)
