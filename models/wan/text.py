"""umT5, Wan's text encoder: its file layouts, its tokenizer, the release's cleaning of prompts; transformers computes.
Knows nothing of the video model; a prompt goes in, one row a token comes out."""

from __future__ import annotations

import html
import logging
import re
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from ..common import t5
from ..common.checkpoint import Checkpoint, assign
from ..common.description import Description
from ..common.ops import prepare

log = logging.getLogger(__name__)

LENGTH = 512  # tokens, </s> included: wan/modules/t5.py:T5EncoderModel

# wan/modules/t5.py:T5Encoder -> transformers UMT5EncoderModel (which ComfyUI's repackaged files use).
OFFICIAL = (
    (r"token_embedding\.(\w+)", r"shared.\1"),
    (r"norm\.weight", r"encoder.final_layer_norm.weight"),
    (r"blocks\.(\d+)\.norm1\.weight", r"encoder.block.\1.layer.0.layer_norm.weight"),
    (r"blocks\.(\d+)\.norm2\.weight", r"encoder.block.\1.layer.1.layer_norm.weight"),
    (r"blocks\.(\d+)\.attn\.([qkvo])\.(\w+)", r"encoder.block.\1.layer.0.SelfAttention.\2.\3"),
    (r"blocks\.(\d+)\.pos_embedding\.embedding\.weight",
     r"encoder.block.\1.layer.0.SelfAttention.relative_attention_bias.weight"),
    (r"blocks\.(\d+)\.ffn\.gate\.0\.(\w+)", r"encoder.block.\1.layer.1.DenseReluDense.wi_0.\2"),
    (r"blocks\.(\d+)\.ffn\.fc1\.(\w+)", r"encoder.block.\1.layer.1.DenseReluDense.wi_1.\2"),
    (r"blocks\.(\d+)\.ffn\.fc2\.(\w+)", r"encoder.block.\1.layer.1.DenseReluDense.wo.\2"),
)  # fmt: skip
FOLDERS = (".", "google/umt5-xxl")  # where the tokenizer may lie, seen from the file
ADVICE = ("Put umT5's tokenizer.json or spiece.model (from google/umt5-xxl on Hugging Face) into the same "
          "folder, or use ComfyUI's umt5_xxl_*.safetensors, which carries it.")  # fmt: skip


class TextEncoder(t5.TextEncoder):
    """umT5: one row a token, no padding."""

    name, tokenizer_advice = "umT5", ADVICE

    def encode(self, prompt: str) -> Tensor:
        """[tokens, dim] for a prompt of any length: at most `length` tokens, the last of them </s>; no padding."""
        return self.encode_ids(torch.tensor([self.ids(clean(prompt))]))[0]


def load(
    checkpoint: Checkpoint, found: Description, dtype: str = "auto", device="cpu", tokenizer: str | Path | None = None
) -> TextEncoder:
    """umT5 from official, ComfyUI-repackaged (also scaled fp8) or all-in-one files that were recognised as `found`.

    tokenizer: a folder or file (tokenizer.json, spiece.model); by default the one inside the file, else one beside it.
    CheckpointError where the file is incomplete.
    """
    part = checkpoint.part(found.kind)
    module = build(found.config)
    assign(module, part, key_map=OFFICIAL if "token_embedding.weight" in part else (), ignore=t5.NOT_WEIGHTS)
    prepare(module, dtype, device, keep=t5.KEPT)
    length = (checkpoint.config or {}).get("text_len", LENGTH)  # a small model of our own takes shorter prompts
    return TextEncoder(module, t5.find_tokenizer(part, tokenizer, FOLDERS, ADVICE), checkpoint.path, length)


def build(sizes: dict) -> nn.Module:
    """transformers' UMT5EncoderModel on the meta device."""
    return t5.build("UMT5", sizes)


def clean(text: str) -> str:
    """The release's cleaning: ftfy's repairs, HTML entities twice, runs of whitespace to one space.

    Source: bytedance/ATI wan/modules/tokenizers.py:basic_clean, whitespace_clean.
    """
    text = html.unescape(html.unescape(fixer()(text)))
    return re.sub(r"\s+", " ", text.strip()).strip()


@cache
def fixer():
    try:
        from ftfy import fix_text
    except ImportError:
        log.info("ftfy is not installed: full-width signs, curly quotes and mojibake in prompts stay as typed.")
        return str
    return fix_text
