"""The one place that touches ComfyUI: its folders, its memory manager, its progress bars and its cancel button.

It is imported in a running ComfyUI only, by host.py; it knows no node and no maths.
"""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from .host import (
    BACKGROUND_SIDE, MOST_BACKGROUNDS, PREVIEW_SIDE, Host, Progress, file_name, find, memory_sentence,
)  # fmt: skip
from .inputs import InputError
from .lending import PREFIX, bring_the_rest, contained, lend

COUNTED = ("cuda", "xpu", "cpu", "mps")  # devices whose free memory ComfyUI knows; of the others it guesses
log = logging.getLogger(__name__)


class ComfyHost(Host):
    """Inside ComfyUI: its folders, its memory manager, its progress and its cancel button."""

    def __init__(self) -> None:
        import comfy.model_management
        import comfy.model_patcher
        import comfy.utils
        import folder_paths

        self.folders, self.utils = folder_paths, comfy.utils
        self.management, self.patcher = comfy.model_management, comfy.model_patcher
        self.ops, self.on_load = layers_and_event()

    def device(self, kind: str = "diffusion_models") -> torch.device:
        if kind == "vae":
            return self.management.vae_device()
        if kind in ("text_encoders", "clip_vision"):
            return self.management.text_encoder_device()
        return self.management.get_torch_device()

    def _offload_device(self, kind: str) -> torch.device:
        if kind == "vae":
            return self.management.vae_offload_device()
        if kind in ("text_encoders", "clip_vision"):
            return self.management.text_encoder_offload_device()
        return self.management.unet_offload_device()

    def folder_of(self, kind: str) -> str:
        return " or ".join(self.folders.get_folder_paths(kind))

    def _model_files(self, kind: str) -> list[str]:
        return self.folders.get_filename_list(kind)

    def _model_path(self, kind: str, name: str) -> Path | None:
        entry = find(self._model_files(kind), name)
        path = entry and self.folders.get_full_path(kind, entry)
        return Path(path) if path else None

    def input_folder(self) -> Path:
        return Path(self.folders.get_input_directory())

    def _input_path(self, name: str) -> Path:
        path = Path(self.folders.get_annotated_filepath(name)).resolve()
        inside = any(path.is_relative_to(Path(folder).resolve()) for folder in (
            self.input_folder(), self.folders.get_output_directory(), self.folders.get_temp_directory()))  # fmt: skip
        return path if inside else self.input_folder() / Path(name).name

    def _output_place(self, prefix: str) -> tuple[Path, str, int]:
        folder, name, counter, _, _ = self.folders.get_save_image_path(prefix, self.folders.get_output_directory())
        return Path(folder), name, counter

    def own_tokenizer(self, folder: str) -> Path | None:
        found = Path(self.utils.__file__).parent / "text_encoders" / folder
        return found if found.is_dir() else None

    def place(self, kind: str) -> torch.device:
        """ComfyUI brings weights to the device when they are used; a host that cannot lend them has them there from the
        start."""
        return self._offload_device(kind) if self.ops else self.device(kind)

    def make_room(self, weights_bytes: int, kind: str) -> None:
        if self.ops:
            return  # they come to the device when they are used, and room is made then
        self.management.free_memory(weights_bytes * 1.1 + self.management.minimum_inference_memory(), self.device(kind))

    def show_background(self, frames: Tensor) -> list[dict]:
        from PIL import Image

        folder, name, counter, subfolder, _ = self.folders.get_save_image_path(
            "trajectory_background", self.folders.get_temp_directory()
        )
        shown = []
        count = min(len(frames), MOST_BACKGROUNDS)
        for i, index in enumerate(torch.linspace(0, len(frames) - 1, count).round().long()):
            pixels = frames[index].detach().float().nan_to_num(0).clamp(0, 1) * 255
            picture = Image.fromarray(pixels.round().to("cpu", torch.uint8).numpy())
            picture.thumbnail((BACKGROUND_SIDE, BACKGROUND_SIDE))
            file = f"{name}_{counter + i:05}_.jpg"
            picture.save(Path(folder) / file, quality=90)
            shown.append({"filename": file, "subfolder": subfolder, "type": "temp"})
        server = self.server()
        if server is not None and server.client_id is not None:
            size = {"width": frames.shape[2], "height": frames.shape[1], "frames": len(frames)}
            message = {"node": server.last_node_id, "images": shown, **size}
            server.send_sync("trajectory.background", message, server.client_id)
        return shown

    def on_post(self, route: str, answer: Callable[[bytes, dict], dict]) -> None:
        server = self.server()
        if server is None:
            return
        from aiohttp import web

        @server.routes.post(route)
        async def handle(request):
            try:
                return web.json_response(answer(await request.read(), dict(request.query)))
            except ValueError as error:
                return web.json_response({"error": str(error)}, status=400)

    def server(self):
        """ComfyUI's web server; None where its code runs without one."""
        return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)

    def manage(self, model, kind: str):
        """Puts a model that was just loaded under ComfyUI's memory manager."""
        container = contained(model.module)
        if self.ops:
            lend(model.module, self.ops)
        patcher = self.patcher.ModelPatcher(container, self.device(kind), self._offload_device(kind))
        if self.ops:
            patcher.add_callback(self.on_load, bring_the_rest)
        else:  # it is already there: what ModelPatcher.load would have noted
            container.device, container.model_loaded_weight_memory = patcher.load_device, patcher.model_size()
            container.current_weight_patches_uuid = patcher.patches_uuid
            self.management.load_models_gpu([patcher], force_full_load=True)
        model.host_patcher = patcher
        return model

    def low_rank_patch(self, up: Tensor, down: Tensor, scale: float = 1.0):
        """What `with_patches` takes for an addition of up @ down * scale: ComfyUI's own, which multiplies it out for
        one weight at a time. up: [rows, rank, 1 …]; down: [rank, columns, kernel …]."""
        from comfy.weight_adapter import LoRAAdapter

        return LoRAAdapter(set(), (up, down, scale * down.shape[0], None, None, None))

    def with_patches(self, model, patches: Mapping[str, object], strength: float = 1.0):
        """A model that shares the weights of `model` and is patched while it is in use; `model` stays as it is.

        patches: by the name of a parameter of its module, what ComfyUI's ModelPatcher.add_patches takes: ("diff",
        (tensor,)), or what `low_rank_patch` gives. InputError where a name is none of the module's.
        """
        patched = copy.copy(model)
        patched.host_patcher = model.host_patcher.clone()
        taken = set(patched.host_patcher.add_patches({PREFIX + key: patch for key, patch in patches.items()}, strength))
        left = [key for key in patches if PREFIX + key not in taken]
        if left:
            raise InputError(
                f"{len(left)} of {len(patches)} patches are for no weight of {file_name(model)}, the first for "
                f"{left[0]}."
            )
        return patched

    def ready(self, model, working_bytes: int = 0, doing: str = "") -> None:
        """Loads the model onto its device, or the part of it that fits; models of other nodes make room for it and for
        `working_bytes`. doing: what needs them, for the log."""
        patcher = model.host_patcher
        lending = self.ops is not None
        self.management.load_models_gpu([patcher], memory_required=working_bytes, force_full_load=not lending)
        if not lending:
            model.to(patcher.load_device)
        there = min(patcher.loaded_size(), patcher.model_size())
        log.info(memory_sentence(model, patcher.load_device, patcher.model_size(), there, working_bytes, doing))

    def free(self) -> None:
        self.management.soft_empty_cache()

    def free_memory(self, model) -> int | None:
        device = model.host_patcher.load_device
        return int(self.management.get_free_memory(device)) if device.type in COUNTED else None

    def is_out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, self.management.OOM_EXCEPTION)

    def check_cancelled(self) -> None:
        self.management.throw_exception_if_processing_interrupted()

    def progress(self, total: int, label: str) -> Progress:
        return ComfyProgress(total, self.utils.ProgressBar(total))


class ComfyProgress(Progress):
    shows = True

    def update(self, done: int, picture: Tensor | None = None) -> None:
        preview = None
        if picture is not None:
            from PIL import Image

            pixels = (picture.detach().float().clamp(0, 1) * 255).round().to("cpu", torch.uint8).numpy()
            preview = ("JPEG", Image.fromarray(pixels), PREVIEW_SIDE)
        self.bar.update_absolute(done, self.total, preview)


def layers_and_event():
    """ComfyUI's layers and the name of its patcher's event after loading; (None, None) in a ComfyUI that lends no
    weights to layers of packs, where models are loaded whole."""
    try:
        import comfy.ops
        from comfy.patcher_extension import CallbacksMP

        return (comfy.ops, CallbacksMP.ON_LOAD) if hasattr(comfy.ops, "cast_bias_weight") else (None, None)
    except (ImportError, AttributeError):
        return None, None
