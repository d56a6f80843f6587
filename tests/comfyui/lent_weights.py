"""Generates in a process that has ComfyUI's modules but no server, with every weight that ComfyUI can lend left where
it is stored, and fails where anything but ComfyUI's own cast touches one: on a GPU that would be the wrong device.

    python lent_weights.py CHECKOUT MODELS GRAPHS.json RESULTS.safetensors   (graphs in API format by name)
"""

import importlib.util
import json
import sys
from pathlib import Path

import torch

PACK = Path(__file__).resolve().parents[2]
checkout, models, graphs, results = sys.argv[1:]
sys.path[:0] = [checkout, str(PACK / "tests")]
sys.argv[1:] = ["--cpu"]

from comfyui.launch import TorchvisionOperators, stand_in_for_torchaudio  # noqa: E402

sys.meta_path.insert(0, TorchvisionOperators())
stand_in_for_torchaudio()

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import comfy.model_management as management  # noqa: E402
import comfy.model_patcher  # noqa: E402, F401
import comfy.utils  # noqa: E402, F401
import folder_paths  # noqa: E402

for kind in ("diffusion_models", "vae", "text_encoders", "clip_vision"):
    folder_paths.add_model_folder_path(kind, f"{models}/{kind}")
folder_paths.set_input_directory(str(Path(models).parent / "input"))

spec = importlib.util.spec_from_file_location(
    "comfyui_trajectory", PACK / "__init__.py", submodule_search_locations=[str(PACK)]
)
sys.modules["comfyui_trajectory"] = pack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)

from comfyui.headless import result  # noqa: E402


class Stored(torch.Tensor):
    """A weight that lies on another device: it can be looked at, and copied by ComfyUI, and nothing else."""

    looks = {
        "__get__", "size", "numel", "nelement", "element_size", "dim", "is_floating_point", "stride", "untyped_storage",
        "detach",  # by state_dict
    }  # fmt: skip

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        assert function.__name__ in cls.looks, f"{function.__name__} uses a weight that is not on the device"
        return super().__torch_function__(function, types, args, kwargs or {})


def copied(weight, dtype=None, device=None, non_blocking=False, copy=False, stream=None, r=None):
    """r: where newer ComfyUIs want the copy to be."""
    with torch._C.DisableTorchFunctionSubclass():
        found = weight.as_subclass(torch.Tensor).to(dtype=dtype, copy=True)
        return found if r is None else r.copy_(found)


def load_nothing(entry, lowvram_model_memory=0, **options):
    for layer in entry.model.model.modules():  # as it was before this load
        for name, value in layer._parameters.items():
            if isinstance(value, Stored):
                with torch._C.DisableTorchFunctionSubclass():
                    layer._parameters[name] = torch.nn.Parameter(value.as_subclass(torch.Tensor), requires_grad=False)
    module = whole_load(entry, 1, **options)
    for layer in module.modules():
        if getattr(layer, "prev_comfy_cast_weights", None) is not None:
            for name, value in layer._parameters.items():
                if value is not None:
                    layer._parameters[name] = value.data.as_subclass(Stored)
                    lent[type(module).__name__] = lent.get(type(module).__name__, 0) + 1
    return module


lent: dict[str, int] = {}
management.cast_to = copied
whole_load = management.LoadedModel.model_load
management.LoadedModel.model_load = load_nothing

from safetensors.torch import save_file  # noqa: E402

found = {}
with torch.inference_mode():
    for name, graph in json.loads(Path(graphs).read_text()).items():
        found[name] = result(graph, "sampler")[0]["samples"].clone()
        found[name + " pixels"] = result(graph, "decode")[0].contiguous()
save_file(found, results)
print(json.dumps(lent))
