"""A second pack for the tests' ComfyUI: tells what is loaded, and brings about what is hard to wait for.

Memory that is short, and failures and cancels at one exact call inside a network. It knows ComfyUI and torch only.
"""

import gc
import sys

import comfy.model_management as management
import psutil
import torch
from aiohttp import web
from server import PromptServer


def patch_for(weight):
    return torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) / 3


class ProbePatch:
    """Adds a random difference to one parameter of a TRAJECTORY_MODEL."""

    CATEGORY, RETURN_TYPES, FUNCTION = "probe", ("TRAJECTORY_MODEL",), "patch"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("TRAJECTORY_MODEL",), "key": ("STRING",), "strength": ("FLOAT",)}}

    def patch(self, model, key, strength):
        host = next(module.host for name, module in sys.modules.items() if name.endswith("ComfyUI-Trajectory.nodes.host"))
        return (host.with_patches(model, {key: ("diff", (patch_for(model.module.get_parameter(key)),))}, strength),)


NODE_CLASS_MAPPINGS = {"ProbePatch": ProbePatch}
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
        "rss": psutil.Process().memory_info().rss,
        "loaded": [type(entry.model.model).__name__ for entry in models if entry.model is not None],
        "in_part": [type(entry.model.model).__name__ for entry in models if entry.model.model.model_lowvram],
    })


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
