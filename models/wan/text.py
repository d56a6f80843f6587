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

from ..common.checkpoint import Checkpoint, assign
from ..common.description import Description
from ..common.errors import CheckpointError, ModelError
from ..common.ops import prepare
from ..common.tokens import read_json

log = logging.getLogger(__name__)

END = 1  # </s>
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
# The copy of shared.weight, the tokenizer, and the half of the model that only a translation needs.
NOT_WEIGHTS = (r"encoder\.embed_tokens\.weight", r"spiece_model", r"logit_scale", r"decoder\..*", r"lm_head\..*")
BESIDE = ("tokenizer.json", "spiece.model", "google/umt5-xxl/tokenizer.json", "google/umt5-xxl/spiece.model")


class TextEncoder:
    """umT5 and its tokenizer. `config`: transformers' UMT5Config; `width`: of the rows it gives; `length`: tokens at most."""

    def __init__(self, module: nn.Module, tokenizer, path=None, length: int = LENGTH):
        self.module, self.tokenizer, self.path, self.length = module, tokenizer, path, length
        self.config = module.config
        self.width: int = module.config.d_model

    @property
    def device(self) -> torch.device:
        return self.module.shared.weight.device

    def to(self, device) -> "TextEncoder":
        self.module.to(device)
        return self

    def encode(self, prompt: str) -> Tensor:
        """[tokens, dim] for a prompt of any length: at most `length` tokens, the last of them </s>; no padding."""
        if self.tokenizer is None:
            raise CheckpointError(f"{self.path} carries no tokenizer. {TOKENIZER_ADVICE}")
        ids = self.tokenizer(clean(prompt))
        if len(ids) > self.length:
            log.warning("The prompt has %d tokens; what follows the first %d is left out.", len(ids), self.length)
            ids = [*ids[: self.length - 1], END]
        if max(ids) >= self.config.vocab_size:
            raise ModelError(
                f"The tokenizer gives id {max(ids)}, but {self.path} knows {self.config.vocab_size} "
                "tokens: they do not belong together. Use umT5's own tokenizer."
            )
        return self.encode_ids(torch.tensor([ids]))[0]

    @torch.no_grad()
    def encode_ids(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """ids [batch, tokens] int64, mask [batch, tokens] with 1 at real tokens (None: all) -> [batch, tokens, dim]."""
        mask = None if mask is None else mask.to(self.device)
        return self.module(input_ids=ids.to(self.device), attention_mask=mask).last_hidden_state


def load(
    checkpoint: Checkpoint, found: Description, dtype: str = "auto", device="cpu", tokenizer: str | Path | None = None
) -> TextEncoder:
    """umT5 from official, ComfyUI-repackaged (also scaled fp8) or all-in-one files that were recognised as `found`.

    tokenizer: a folder or file (tokenizer.json, spiece.model); by default the one inside the file, else one beside it.
    CheckpointError where the file is incomplete.
    """
    part = checkpoint.part(found.kind)
    module = build(found.config)
    assign(module, part, key_map=OFFICIAL if "token_embedding.weight" in part else (), ignore=NOT_WEIGHTS)
    prepare(module, dtype, device, keep=("norm", "relative_attention_bias"))
    length = (checkpoint.config or {}).get("text_len", LENGTH)  # a small model of our own takes shorter prompts
    return TextEncoder(module, find_tokenizer(part, tokenizer), checkpoint.path, length)


def build(sizes: dict) -> nn.Module:
    """transformers' UMT5EncoderModel on the meta device."""
    try:
        from transformers import UMT5Config, UMT5EncoderModel
        from transformers.models.umt5.modeling_umt5 import UMT5DenseGatedActDense
    except ImportError as error:
        raise ModelError(f"umT5 needs the package transformers ({error}): pip install transformers") from error

    class GatedDense(UMT5DenseGatedActDense):
        """Without the cast of the activations to the stored dtype of `wo`, which may be fp8."""

        def forward(self, hidden_states: Tensor) -> Tensor:
            return self.wo(self.act(self.wi_0(hidden_states)) * self.wi_1(hidden_states))

    config = UMT5Config(
        **sizes,
        feed_forward_proj="gated-gelu",
        relative_attention_max_distance=128,
        layer_norm_epsilon=1e-6,
        is_encoder_decoder=False,
        use_cache=False,
    )
    with torch.device("meta"):
        module = UMT5EncoderModel(config)
    module.encoder.embed_tokens = module.shared  # one table, one name
    for block in module.encoder.block:
        block.layer[1].DenseReluDense.__class__ = GatedDense
    return module.eval().requires_grad_(False)


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


TOKENIZER_ADVICE = ("Put umT5's tokenizer.json or spiece.model (from google/umt5-xxl on Hugging Face) into the same "
                    "folder, or use ComfyUI's umt5_xxl_*.safetensors, which carries it.")  # fmt: skip


def find_tokenizer(part: Checkpoint, stated: str | Path | None = None):
    """A function from text to token ids ending in </s>: from `stated`, else from the file, else from beside it; None
    where there is none (ids can still be encoded)."""
    if stated is not None:
        path = Path(stated)
        candidates = [path] if path.is_file() else [path / name for name in BESIDE]
        found = [file for file in candidates if file.is_file()]
        if not found:
            raise CheckpointError(f"{path} holds no tokenizer (tokenizer.json or spiece.model). {TOKENIZER_ADVICE}")
        return read_tokenizer(found[0])
    if "spiece_model" in part and part.shapes["spiece_model"] != (0,):
        return sentencepiece(part["spiece_model"].numpy().tobytes(), part.path)
    folder = part.path if part.path.is_dir() else part.path.parent
    found = [folder / name for name in BESIDE if (folder / name).is_file()]
    return read_tokenizer(found[0]) if found else None


def read_tokenizer(file: Path):
    if file.suffix != ".json":
        return sentencepiece(file.read_bytes(), file)
    tokenizer = read_json(file)
    return lambda text: ended(tokenizer.encode(text).ids)


def sentencepiece(model: bytes, where):
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as error:
        raise ModelError(
            f"The tokenizer of {where} needs the package sentencepiece ({error}). Install it: pip install sentencepiece"
        ) from error
    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(model)
    except RuntimeError as error:
        raise CheckpointError(f"{where}: its sentencepiece model cannot be read ({error}). Get it again.") from error
    return lambda text: ended(processor.EncodeAsIds(text))


def ended(ids: list[int]) -> list[int]:
    return ids if ids and ids[-1] == END else [*ids, END]
