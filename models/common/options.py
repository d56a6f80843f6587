"""How a model is held in memory and run: what a user may choose, checked, as data. Nothing is done here."""

from __future__ import annotations

from dataclasses import dataclass, fields

from .errors import ModelError
from .ops import DTYPES

ATTENTION = ("auto", "sdpa", "sageattention", "flash-attn")
GUIDANCE = ("sequential", "batched")
STEP_CACHES = ("off", "teacache", "easycache")
SMALLEST_SWAP = 2  # the first block stays, one is at work


@dataclass(frozen=True)
class Options:
    """storage: one of DTYPES, what the weights are kept in; 'auto': what the loader says. blocks_on_device: how many
    blocks the device holds while the others wait in host memory; 0 for all. prefetch: how many blocks more are on their
    way there. fp8_products: fp8 weights are multiplied as such where the hardware can. attention, guidance, step_cache:
    one of the lists above. compile: blocks are compiled by torch. step_cache_threshold: how much change may add up
    before a step is computed again. ModelError names what is out of range."""

    storage: str = "auto"
    blocks_on_device: int = 0
    prefetch: int = 1
    fp8_products: bool = False
    attention: str = "auto"
    compile: bool = False
    guidance: str = "sequential"
    step_cache: str = "off"
    step_cache_threshold: float = 0.1

    def __post_init__(self):
        lists = {"storage": DTYPES, "attention": ATTENTION, "guidance": GUIDANCE, "step_cache": STEP_CACHES}
        for name, known in lists.items():
            if getattr(self, name) not in known:
                raise ModelError(f"{name} is '{getattr(self, name)}': it must be one of {', '.join(known)}.")
        if self.blocks_on_device != 0 and self.blocks_on_device < SMALLEST_SWAP:
            raise ModelError(
                f"blocks_on_device is {self.blocks_on_device}: it must be 0 (all), or {SMALLEST_SWAP} and more."
            )
        if self.prefetch < 1:
            raise ModelError(f"prefetch is {self.prefetch}: at least 1 block is fetched ahead.")
        if not self.step_cache_threshold > 0:
            raise ModelError(f"step_cache_threshold is {self.step_cache_threshold}: it must be above 0 (0.1 is usual).")

    def changed(self) -> dict[str, object]:
        """What is not at its default."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
