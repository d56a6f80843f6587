"""Stand-ins for the few nodes of ComfyUI itself that the workflows use, so that a graph file runs without ComfyUI.

Inputs and their order are ComfyUI 0.3.64's: nodes.py, comfy_extras/nodes_video.py and nodes_images.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..nodes.host import host
from .files import read_image, read_video, write_image, write_video

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi")


@dataclass(frozen=True)
class Video:
    """What the VIDEO socket carries here: [frames, height, width, 3] in 0..1."""

    images: Tensor
    fps: float


class LoadImage:
    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"image": (host.input_files(PICTURES), {"image_upload": True})}}

    def run(self, image: str):
        pixels = read_image(host.input_path(image, "image"))
        return pixels, torch.zeros(1, 64, 64)


class SaveImage:
    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})}}

    def run(self, images: Tensor, filename_prefix: str = "ComfyUI"):
        files = [write_image(host.output_path(filename_prefix, ".png"), image) for image in images]
        return {"ui": {"files": files}, "result": ()}


class PreviewImage:
    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"images": ("IMAGE",)}}

    def run(self, images: Tensor):
        """Nobody looks at a preview here; what feeds it has been computed, as in ComfyUI."""
        return ()


class CreateVideo:
    RETURN_TYPES = ("VIDEO",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {"images": ("IMAGE",), "fps": ("FLOAT", {"default": 30.0})},
            "optional": {"audio": ("AUDIO",)},
        }

    def run(self, images: Tensor, fps: float = 30.0, audio=None):
        return (Video(images, fps),)


class SaveVideo:
    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "video": ("VIDEO",),
                "filename_prefix": ("STRING", {"default": "video/ComfyUI"}),
                "format": (["auto", "mp4"],),
                "codec": (["auto", "h264"],),
            }
        }

    def run(self, video: Video, filename_prefix: str = "video/ComfyUI", format: str = "auto", codec: str = "auto"):
        path = write_video(host.output_path(filename_prefix, ".mp4"), video.images, video.fps)
        return {"ui": {"files": [path]}, "result": ()}


class LoadVideo:
    RETURN_TYPES = ("VIDEO",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"file": (host.input_files(VIDEOS), {"video_upload": True})}}

    def run(self, file: str):
        return (Video(*read_video(Path(host.input_path(file, "file")))),)


class GetVideoComponents:
    RETURN_TYPES = ("IMAGE", "AUDIO", "FLOAT")
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"video": ("VIDEO",)}}

    def run(self, video: Video):
        return video.images, None, video.fps


class PreviewAny:
    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"source": ("*",)}}

    def run(self, source):
        return {"ui": {"text": [str(source)]}, "result": ()}


CORE_NODES = {
    cls.__name__: cls
    for cls in (LoadImage, SaveImage, PreviewImage, CreateVideo, SaveVideo, LoadVideo, GetVideoComponents, PreviewAny)
}
