"""The option nodes: how a model is held in memory and run. What the options do, `models` knows."""

from __future__ import annotations

from dataclasses import replace

from ..models import DTYPES, Options
from ..models.common.options import ATTENTION, GUIDANCE, STEP_CACHES
from .inputs import choice, flag, integer, naming, number, socket


def options_socket(what: str) -> tuple:
    return socket("TRAJECTORY_OPTIONS", what)


MORE = "Other options to go on from, such as those of the other options node."


class TrajectoryMemoryOptions:
    CATEGORY = "Trajectory/options"
    DESCRIPTION = (
        "How the video model is held in memory: the number format of its weights, and how many of its blocks lie on "
        "the "
        "graphics card at once. For the Trajectory Model Loader."
    )
    RETURN_TYPES = ("TRAJECTORY_OPTIONS",)
    RETURN_NAMES = ("options",)
    OUTPUT_TOOLTIPS = ("For the Trajectory Model Loader, or the other options node.",)
    FUNCTION = "choose"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "storage": choice(
                    list(DTYPES),
                    "The number format that the weights are kept in, in place of the loader's weight_dtype. fp8 "
                    "halves the "
                    "memory of a bf16 file; sensitive layers stay wider. auto: what the loader says.",
                ),
                "blocks_on_device": integer(
                    0, 0, 100,
                    "How many blocks of the model the graphics card holds at once (2 or more); the others wait in the "
                    "computer's memory and come when it is their turn. 0: all. Inside ComfyUI, which does this "
                    "itself, it "
                    "is left to ComfyUI.",
                ),
                "prefetch": integer(
                    1, 1, 8,
                    "How many blocks more are on their way to the card while one computes. More needs more memory.",
                ),
            },
            "optional": {"options": options_socket(MORE)},
        }  # fmt: skip

    def choose(
        self, storage: str = "auto", blocks_on_device: int = 0, prefetch: int = 1, options: Options | None = None
    ):  # fmt: skip
        with naming("storage, blocks_on_device, prefetch"):
            given = {"storage": storage, "blocks_on_device": blocks_on_device, "prefetch": prefetch}
            return (replace(options or Options(), **given),)


class TrajectorySpeedOptions:
    CATEGORY = "Trajectory/options"
    DESCRIPTION = (
        "How the video model computes: the attention's implementation, compiled blocks, skipped steps. For the "
        "Trajectory "
        "Model Loader. A fresh node changes nothing."
    )
    RETURN_TYPES = ("TRAJECTORY_OPTIONS",)
    RETURN_NAMES = ("options",)
    OUTPUT_TOOLTIPS = ("For the Trajectory Model Loader, or the other options node.",)
    FUNCTION = "choose"

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "attention": choice(
                    list(ATTENTION),
                    "What computes the attention. auto: flash-attn 3 on Hopper GPUs that have it, else torch's own. "
                    "sageattention is the fastest and slightly inexact. What is not installed is told and replaced by "
                    "torch's own.",
                ),
                "compile": flag(
                    False,
                    "Compiles the model's blocks with torch.compile: the first step takes a minute longer, the others "
                    "are faster. Needs a C++ compiler, or Triton on a GPU.",
                ),
                "guidance": choice(
                    list(GUIDANCE),
                    "With cfg other than 1: sequential computes the prompt and the negative prompt one after the "
                    "other, "
                    "batched both at once, which is faster for small videos and needs up to twice the working memory.",
                ),
                "step_cache": choice(
                    list(STEP_CACHES),
                    "Leaves out steps that hardly change anything. teacache: with the published figures of the "
                    "released "
                    "models. easycache: for any model. Both change the video a little; the console says how many "
                    "steps.",
                ),
                "step_cache_threshold": number(
                    0.1, 0.001, 1.0, 0.005,
                    "How much change may add up before a step is computed again: the more, the faster and the less "
                    "exact. "
                    "0.05 is careful, 0.1 usual, 0.3 is bold.",
                ),
                "fp8_products": flag(
                    False,
                    "Multiplies fp8 weights as fp8 where the GPU can (NVIDIA RTX 40 and newer): faster, and slightly "
                    "less exact. Elsewhere they are widened on use.",
                ),
            },
            "optional": {"options": options_socket(MORE)},
        }  # fmt: skip

    def choose(
        self, attention: str = "auto", compile: bool = False, guidance: str = "sequential", step_cache: str = "off",
        step_cache_threshold: float = 0.1, fp8_products: bool = False, options: Options | None = None,
    ):  # fmt: skip
        with naming("attention, guidance, step_cache, step_cache_threshold"):
            return (replace(
                options or Options(), attention=attention, compile=compile, guidance=guidance, step_cache=step_cache,
                step_cache_threshold=step_cache_threshold, fp8_products=fp8_products,
            ),)  # fmt: skip
