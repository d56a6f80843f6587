"""What T5 v1.1 and umT5 have in common: the network (transformers computes), tokenizer files, prompts to ids.
Knows no video model; how a prompt is cleaned and padded is the families' affair."""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from .checkpoint import Checkpoint
from .errors import CheckpointError, ModelError
from .placed import Placed
from .tokens import read_json

log = logging.getLogger(__name__)

END = 1  # </s>
# The copy of shared.weight, the tokenizer, and the half of the model that only a translation needs.
NOT_WEIGHTS = (r"encoder\.embed_tokens\.weight", r"spiece_model", r"logit_scale", r"decoder\..*", r"lm_head\..*")
KEPT = ("norm", "relative_attention_bias")  # weights that stay out of fp8
NAMES = ("tokenizer.json", "spiece.model")


class TextEncoder(Placed):
    """A T5 encoder and its tokenizer. `config`: transformers'; `width`: of the rows it gives; `length`: tokens at
    most."""

    name: ClassVar[str]  # in a sentence
    tokenizer_advice: ClassVar[str]  # where its tokenizer comes from
    comfy_tokenizer: ClassVar[str | None] = None  # the folder in which ComfyUI carries it, if it does

    def __init__(self, module: nn.Module, tokenizer, path=None, length: int = 512):
        self.module, self.tokenizer, self.path, self.length = module, tokenizer, path, length
        self.config = module.config
        self.width: int = module.config.d_model

    def use_tokenizer(self, folder: Path) -> None:
        self.tokenizer = read_tokenizer(folder / "tokenizer.json")

    def ids(self, prompt: str) -> list[int]:
        """At most `length` token ids, the last of them </s>."""
        if self.tokenizer is None:
            raise CheckpointError(f"{self.path} carries no tokenizer. {self.tokenizer_advice}")
        ids = self.tokenizer(prompt)
        if len(ids) > self.length:
            log.warning("The prompt has %d tokens; what follows the first %d is left out.", len(ids), self.length)
            ids = [*ids[: self.length - 1], END]
        if max(ids) >= self.config.vocab_size:
            raise ModelError(
                f"The tokenizer gives id {max(ids)}, but {self.path} knows {self.config.vocab_size} "
                f"tokens: they do not belong together. Use {self.name}'s own tokenizer."
            )
        return ids

    @torch.no_grad()
    def encode_ids(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """ids [batch, tokens] int64, mask [batch, tokens] with 1 at real tokens (None: all) -> [batch, tokens, dim]."""
        mask = None if mask is None else mask.to(self.device)
        return self.module(input_ids=ids.to(self.device), attention_mask=mask).last_hidden_state


def build(name: str, sizes: dict) -> nn.Module:
    """transformers' T5EncoderModel or UMT5EncoderModel (name: "T5" or "UMT5") on the meta device."""
    try:
        transformers = import_module("transformers")
        dense = getattr(
            import_module(f"transformers.models.{name.lower()}.modeling_{name.lower()}"), f"{name}DenseGatedActDense"
        )
    except ImportError as error:
        raise ModelError(f"{name} needs the package transformers ({error}): pip install transformers") from error

    class GatedDense(dense):
        """Without the cast of the activations to the stored dtype of `wo`, which may be fp8."""

        def forward(self, hidden_states: Tensor) -> Tensor:
            return self.wo(self.act(self.wi_0(hidden_states)) * self.wi_1(hidden_states))

    config = getattr(transformers, f"{name}Config")(
        **sizes,
        feed_forward_proj="gated-gelu",
        relative_attention_max_distance=128,
        layer_norm_epsilon=1e-6,
        is_encoder_decoder=False,
        use_cache=False,
    )
    with torch.device("meta"):
        module = getattr(transformers, f"{name}EncoderModel")(config)
    module.encoder.embed_tokens = module.shared  # one table, one name
    for block in module.encoder.block:
        block.layer[1].DenseReluDense.__class__ = GatedDense
    return module.eval().requires_grad_(False)


def find_tokenizer(part: Checkpoint, stated: str | Path | None, folders: tuple[str, ...], advice: str):
    """A function from text to token ids ending in </s>: from `stated` (a file or folder), else from the file, else from
    one of `folders` beside it; None where there is none (ids can still be encoded). advice: for the error."""
    beside = [f"{folder}/{name}" for folder in folders for name in NAMES]
    if stated is not None:
        path = Path(stated)
        candidates = [path] if path.is_file() else [path / name for name in beside]
        found = [file for file in candidates if file.is_file()]
        if not found:
            raise CheckpointError(f"{path} holds no tokenizer (tokenizer.json or spiece.model). {advice}")
        return read_tokenizer(found[0])
    if "spiece_model" in part and part.shapes["spiece_model"] != (0,):
        return sentencepiece(part["spiece_model"].numpy().tobytes(), part.path)
    folder = part.path if part.path.is_dir() else part.path.parent
    found = [folder / name for name in beside if (folder / name).is_file()]
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
