"""The predictions of one run: with and without the prompt, one after the other or at once, some steps from a cache.

It knows what a model is asked, and no model's inside.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import attention, use_attention
from .errors import ModelError
from .step_cache import EasyCache
from .types import Motion, TextConditioning

log = logging.getLogger(__name__)


class Guidance:
    """Called once a step; gives the prediction for the prompt, and the one for the negative prompt where there is
    guidance.

    cfg: 1 leaves the negative prompt out. step_cache: TeaCache's threshold, in place of what the model's options say
    (0: they decide).
    """

    def __init__(self, model, text: TextConditioning, motion: Motion, cfg: float, steps: int, step_cache: float):
        if cfg != 1 and text.negative is None:
            raise ModelError(
                f"cfg is {cfg}, which needs a negative prompt; give one (it may be empty) or set cfg to 1."
            )
        self.model, self.steps = model, steps
        prompts = [text.positive] if cfg == 1 else [text.positive, text.negative]
        prompts = [prompt.to(model.device) for prompt in prompts]
        self.prompts = together(prompts, model) if model.options.guidance == "batched" else prompts
        self.kept = model.kept_at(motion.width, motion.height, motion.frames, len(self.prompts))
        kind, threshold = model.options.step_cache, model.options.step_cache_threshold
        if step_cache:
            kind, threshold = "teacache", step_cache
        self.caches = [model.step_cache(threshold, steps) if kind == "teacache" else None for _ in self.prompts]
        self.easy = EasyCache(threshold, steps) if kind == "easycache" else None
        self.placed: dict[int, Mapping[str, Tensor]] = {}
        self.latest: int | None = None  # which inputs the last step had

    def __call__(self, x: Tensor, t: Tensor, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """x: [1, channels, frames, h, w]; t: [1]; inputs: the motion's at this step."""
        if self.latest not in (None, id(inputs)):  # the motion begins or ends to act: nothing cached holds
            for cache in filter(None, (self.easy, *self.caches)):
                cache.forced = True
        self.latest = id(inputs)
        if self.easy is not None and self.easy.skips(x):
            return self.easy.recall(x)
        inputs = self.on_device(inputs)
        found = []
        for prompt, cache, kept in zip(self.prompts, self.caches, self.kept):
            more = {name: value for name, value in (("cache", cache), ("kept", kept)) if value is not None}
            found += self.predict(x, t, prompt, inputs, more).split(1)
        if self.easy is not None:
            self.easy.remember(x, found)
        return found

    def predict(self, x: Tensor, t: Tensor, prompt: Tensor, inputs: Mapping[str, Tensor], more: dict) -> Tensor:
        count = len(prompt)
        if count > 1:
            x, t = x.expand(count, *x.shape[1:]), t.expand(count)
            inputs = {name: value.expand(count, *value.shape[1:]) if value.ndim else value
                      for name, value in inputs.items()}  # fmt: skip
        result = self.model.predict(x, t, prompt, inputs, **more).float()
        if self.model.attention != "sdpa" and not torch.isfinite(result).all():
            log.warning("attention: %s gave NaN; torch's own attention is used from here on.", self.model.attention)
            self.model.attention = "sdpa"
            use_attention(self.model.module, attention)
            if "cache" in more:
                raise ModelError("The attention backend gave NaN while steps were cached: set attention to sdpa.")
            more = {name: value for name, value in more.items() if name != "kept"}
            self.kept = [None] * len(self.kept)
            result = self.model.predict(x, t, prompt, inputs, **more).float()
        return result

    def on_device(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The motion's tensors where and as the model computes, moved once."""
        if id(inputs) not in self.placed:
            moved = {name: value.to(self.model.device, self.model.dtype) for name, value in inputs.items()}
            self.placed[id(inputs)] = moved
        return self.placed[id(inputs)]

    def report(self) -> int:
        """Tells how many steps were skipped, and gives the number; where both halves differ, that of the prompt's."""
        skipped = self.easy.skipped if self.easy is not None else self.caches[0].skipped if self.caches[0] else None
        if skipped is not None:
            log.info("step cache: %d of %d steps were skipped", skipped, self.steps)
        return skipped or 0


def together(prompts: list[Tensor], model) -> list[Tensor]:
    """The prompts as one batch [halves, tokens, dim]; one after the other where their lengths do not allow it."""
    longest = max(prompt.shape[1] for prompt in prompts)
    if any(prompt.shape[1] != longest for prompt in prompts) and not model.pads_text:
        log.warning("guidance: the prompts have different lengths, so they are computed one after the other.")
        return prompts
    return [torch.cat([F.pad(prompt, (0, 0, 0, longest - prompt.shape[1])) for prompt in prompts])]
