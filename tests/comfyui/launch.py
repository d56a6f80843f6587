"""Starts a ComfyUI checkout for the tests, also where torch has no matching torchvision or torchaudio build.

    python launch.py /path/to/ComfyUI --cpu --port 8188 …

What is there is used as it is; only what is missing is declared. COMFYUI_WARNINGS names a file for what custom nodes
warn of. It does not know which nodes are tested.
"""

import importlib.machinery
import importlib.util
import logging
import os
import runpy
import sys
import traceback
import types
from pathlib import Path


class TorchvisionOperators:
    """Just before torchvision's first import, declares the operators it asks for, if its compiled part cannot load.

    A torchvision wheel built for another torch then fails at import, because it registers shape functions for operators
    that nobody declared. Schemas: pytorch/vision torchvision/csrc/ops/nms.cpp and quantized/cpu/qnms_kernel.cpp. It
    waits for that import because ComfyUI sets up the environment before torch may be imported.
    """

    library = None  # the declarations live as long as this object

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision" and self.library is None:
            spec = importlib.machinery.PathFinder.find_spec(name, path)
            if spec and not compiled_part_loads(Path(spec.origin).parent):
                import torch

                self.library = torch.library.Library("torchvision", "DEF")
                self.library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
                self.library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return None  # found by the usual finders


def compiled_part_loads(folder):
    import torch

    for file in [*folder.glob("_C*.so"), *folder.glob("_C*.pyd")]:
        try:
            torch.ops.load_library(file)
            return True
        except OSError:
            return False
    return False


def stand_in_for_torchaudio():
    """An empty torchaudio where there is none: the audio nodes then register and fail only when they are run."""
    if importlib.util.find_spec("torchaudio") is not None:
        return
    for name in ("torchaudio", "torchaudio.functional", "torchaudio.transforms"):
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, loader=None)
        module.__path__ = []
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


class CustomNodeWarnings(logging.Handler):
    """Writes down every warning, logged or Python's own, that a custom node's code was part of or is named in."""

    def __init__(self, path):
        super().__init__(logging.WARNING)
        self.path = path

    def emit(self, record):
        message = record.getMessage()
        files = [frame.f_code.co_filename for frame, _ in traceback.walk_stack(None)]
        blamed = next((file for file in files if "custom_nodes" in file), None)
        if blamed or "custom_nodes" in message:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(f"{record.levelname} {blamed or record.name}: {message!r}\n")


def main():
    folder = os.path.abspath(sys.argv[1])
    sys.argv = [os.path.join(folder, "main.py"), *sys.argv[2:]]
    sys.path[0] = folder
    sys.meta_path.insert(0, TorchvisionOperators())
    stand_in_for_torchaudio()
    if path := os.environ.get("COMFYUI_WARNINGS"):
        logging.captureWarnings(True)
        logging.getLogger().addHandler(CustomNodeWarnings(path))
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
