"""A second pack for the tests' ComfyUI: tells what is loaded, and brings about what is hard to wait for.

Memory that is short, and failures and cancels at one exact call inside a network. It knows ComfyUI and torch only.
"""

import ctypes
import gc
import sys
from unittest import mock

import comfy.model_management as management
import comfy.sd
import comfy.utils
import folder_paths
import psutil
import torch
from aiohttp import web
from server import PromptServer


def patch_for(shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)) / 3


class ProbePatch:
    """Adds a random difference to one parameter of a TRAJECTORY_MODEL; rank: of the difference, 0 for a full one."""

    CATEGORY, RETURN_TYPES, FUNCTION = "probe", ("TRAJECTORY_MODEL",), "patch"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("TRAJECTORY_MODEL",), "key": ("STRING",), "strength": ("FLOAT",),
                             "rank": ("INT",)}}  # fmt: skip

    def patch(self, model, key, strength, rank):
        ours = next(module for name, module in sys.modules.items() if name.endswith("ComfyUI-Trajectory.nodes.host"))
        host = ours.host
        shape = model.module.get_parameter(key).shape
        if rank:
            made = host.low_rank_patch(patch_for((shape[0], rank)), patch_for((rank, shape[1])), 0.7)
        else:
            made = ("diff", (patch_for(shape),))
        return (host.with_patches(model, {key: made}, strength),)


class ProbeClip:
    """ComfyUI's own loader of T5 xxl and umT5 xxl with its own tokenizers, for a file that is smaller than it knows."""

    CATEGORY, RETURN_TYPES, FUNCTION = "probe", ("CLIP",), "load"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"file": ("STRING",), "type": ("STRING",)}}

    def load(self, file, type):
        weights = comfy.utils.load_torch_file(folder_paths.get_full_path("text_encoders", file))
        heads = weights["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"].shape[1]
        vocabulary, width = weights["shared.weight"].shape
        sizes = {
            "d_model": width, "d_kv": width // heads, "num_heads": heads, "vocab_size": vocabulary,
            "d_ff": weights["encoder.block.0.layer.1.DenseReluDense.wi_0.weight"].shape[0],
            "num_layers": len({key.split(".")[2] for key in weights if key.startswith("encoder.block.")}),
        }  # fmt: skip
        options = {"t5xxl_model_config": sizes, "umt5xxl_model_config": sizes, "dtype": torch.float32}
        with mock.patch.object(comfy.sd, "detect_te_model", lambda weights: comfy.sd.TEModel.T5_XXL):
            kind = comfy.sd.CLIPType[type.upper()]
            return (comfy.sd.load_text_encoder_state_dicts([weights], clip_type=kind, model_options=options),)


NODE_CLASS_MAPPINGS = {"ProbePatch": ProbePatch, "ProbeClip": ProbeClip}
routes = PromptServer.instance.routes
budget = {"bytes": None}
trap = {"handle": None}
load = management.LoadedModel.model_load


def load_in_part(self, lowvram_model_memory=0, **options):
    """As on a device with room for that many bytes of weights, if a number is set."""
    return load(self, budget["bytes"] or lowvram_model_memory, **options)


management.LoadedModel.model_load = load_in_part


@routes.get("/probe/memory")
async def memory(request):
    models = management.current_loaded_models
    return web.json_response({
        "loaded": [type(entry.model.model).__name__ for entry in models if entry.model is not None],
        "in_part": [type(entry.model.model).__name__ for entry in models if entry.model.model.model_lowvram],
    })


@routes.get("/probe/resident")
async def resident(request):
    """Resident memory without garbage and without what the C library keeps of freed memory."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    return web.json_response({"bytes": psutil.Process().memory_info().rss})


@routes.get("/probe/alive")
async def alive(request):
    """The classes of the networks whose weights are still held by anything."""
    gc.collect()
    found = {id(module): module for module in gc.get_objects() if isinstance(module, torch.nn.Module)}
    names = [type(module).__name__ for module in found.values() if hasattr(module, "diffusion_model")]
    return web.json_response({"containers": names})


@routes.post("/probe/lend")
async def lend(request):
    budget["bytes"] = (await request.json())["bytes"]
    return web.json_response({})


@routes.post("/probe/trap")
async def set_trap(request):
    """At call number `call` of a module of class `module`: "oom" raises what torch raises, "cancel" is the button."""
    wanted = await request.json()
    seen = {"calls": 0}

    def spring(module, *_):
        if type(module).__name__ != wanted["module"]:
            return
        seen["calls"] += 1
        if seen["calls"] != wanted["call"]:
            return
        trap["handle"].remove()
        trap["handle"] = None
        if wanted["what"] == "oom":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB (simulated).")
        management.interrupt_current_processing()

    if trap["handle"] is not None:
        trap["handle"].remove()
    trap["handle"] = torch.nn.modules.module.register_module_forward_pre_hook(spring)
    return web.json_response({})


@routes.post("/probe/core_tracks")
async def core_tracks(request):
    """What ComfyUI's own reader of track text makes of it."""
    from comfy_extras.nodes_wan import parse_json_tracks

    return web.json_response(parse_json_tracks((await request.json())["text"]))
