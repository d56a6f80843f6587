"""T5 v1.1, the text encoder of CogVideoX: where its tokenizer lies, and how the release pads; transformers computes.
Knows nothing of the video model; a prompt goes in, one row a token comes out, padding included."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..common import t5
from ..common.checkpoint import Checkpoint, assign
from ..common.description import Description
from ..common.ops import prepare

LENGTH = 226  # tokens, </s> and padding included
PAD = 0
FOLDERS = (".", "../tokenizer", "tokenizer", "google/t5-v1_1-xxl", "t5_tokenizer")  # seen from the file
ADVICE = (
    "Put T5's spiece.model or tokenizer.json (from google/t5-v1_1-xxl on Hugging Face) into the same folder, or name "
    "the text_encoder folder of CogVideoX in diffusers' format, which has it beside it."
)


class TextEncoder(t5.TextEncoder):
    """T5 v1.1: every prompt becomes `length` rows. Padding is attended to and its rows stay, as in training:
    alibaba/Tora diffusers-version/tora/t2v_pipeline.py:ToraPipeline._get_t5_prompt_embeds."""

    name, tokenizer_advice, comfy_tokenizer = "T5 v1.1", ADVICE, "t5_tokenizer"

    def encode(self, prompt: str) -> Tensor:
        """[length, dim] for a prompt of any length."""
        ids = self.ids(prompt)
        return self.encode_ids(torch.tensor([ids + [PAD] * (self.length - len(ids))]))[0]


def load(
    checkpoint: Checkpoint, found: Description, dtype: str = "auto", device="cpu", tokenizer: str | Path | None = None
) -> TextEncoder:
    """T5 v1.1 from transformers' files or ComfyUI's (t5xxl_*.safetensors, also scaled fp8) that were recognised as
    `found`.

    tokenizer: a folder or file (tokenizer.json, spiece.model); by default one inside or beside the file.
    CheckpointError where the file is incomplete.
    """
    part = checkpoint.part(found.kind)
    module = t5.build("T5", found.config)
    assign(module, part, ignore=t5.NOT_WEIGHTS)
    prepare(module, dtype, device, keep=t5.KEPT)
    length = (checkpoint.config or {}).get("text_len", LENGTH)  # a small model of our own takes shorter prompts
    return TextEncoder(module, t5.find_tokenizer(part, tokenizer, FOLDERS, ADVICE), checkpoint.path, length)
