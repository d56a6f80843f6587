"""The text half of Qwen2-VL, which reads EasyAnimate's prompts: its file layouts, tokenizer and chat template.
The maths is transformers' Qwen2, whose positions are those of Qwen2-VL where there is text only; the vision tower is
never loaded.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..common.checkpoint import Checkpoint, assign
from ..common.description import Description
from ..common.errors import CheckpointError, ModelError
from ..common.ops import prepare
from ..common.placed import Placed
from ..common.tokens import read_json, read_qwen

log = logging.getLogger(__name__)

LENGTH = 256  # tokens, padding included: easyanimate/pipeline/pipeline_easyanimate.py:encode_prompt
TOKENIZER = "tokenizer_json"  # the bytes of a tokenizer.json, which a small model of our own carries in its file
PAD = 151643  # <|endoftext|>
SPECIAL = {"<|endoftext|>": PAD, "<|im_start|>": 151644, "<|im_end|>": 151645}
TEMPLATE = (  # Qwen2-VL's chat template for one message, with its default system prompt
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>"
    "\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)

STEM = r"(?:model\.)?(?:language_model\.)?(?:model\.)?"  # in front of the text half, by version of transformers
KEYS = ((STEM + r"((?:embed_tokens|layers)\..*)", r"\1"),)
# The vision tower and the word prediction; what comes after the hidden states that are used is added by `load`.
NOT_TEXT = (r"(?:model\.)?visual\..*", STEM + r"lm_head\..*", STEM + r"norm\.weight", TOKENIZER)


class TextEncoder(Placed):
    """Qwen2-VL's text half and its tokenizer. `width`: of the rows it gives, `length` of them for each prompt; `pad`:
    the id that fills prompts up.
    comfy_tokenizer: where ComfyUI carries the tokenizer (Qwen2.5's has the same words and control ids)."""

    comfy_tokenizer: ClassVar[str] = "qwen25_tokenizer"

    def __init__(self, module: nn.Module, tokenizer, path=None, pad: int = PAD, length: int = LENGTH):
        self.module, self.tokenizer, self.path, self.pad, self.length = module, tokenizer, path, pad, length
        self.config = module.config
        self.width: int = module.config.hidden_size

    def use_tokenizer(self, folder: Path) -> None:
        self.tokenizer, self.pad = find_tokenizer(folder, folder)

    def encode(self, prompt: str) -> Tensor:
        """[length, dim] for a prompt of any length, the padding included: the video model attends to it.

        What is too long is cut at the end, and with it the template's closing tokens, as the release does.
        """
        if self.tokenizer is None:
            raise CheckpointError(f"{self.path} has no tokenizer beside it. {TOKENIZER_ADVICE}")
        ids = self.tokenizer(TEMPLATE.format(prompt))
        if len(ids) > self.length:
            log.warning("The prompt has %d tokens; what follows the first %d is left out.", len(ids), self.length)
        ids = ids[: self.length]
        if max(*ids, self.pad) >= self.config.vocab_size:
            raise ModelError(
                f"The tokenizer gives id {max(*ids, self.pad)}, but {self.path} knows {self.config.vocab_size} "
                "tokens: they do not belong together. Use Qwen2-VL's own tokenizer."
            )
        padding = self.length - len(ids)
        mask = torch.tensor([[1] * len(ids) + [0] * padding])
        return self.encode_ids(torch.tensor([ids + [self.pad] * padding]), mask)[0]

    @torch.no_grad()
    def encode_ids(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids [batch, tokens] int64, mask [batch, tokens] with 1 at real tokens, padding on the right
        -> [batch, tokens, dim]: what goes into the last layer, without the final norm."""
        positions = torch.arange(ids.shape[1], device=self.device).expand(ids.shape)
        return self.module(
            input_ids=ids.to(self.device), attention_mask=mask.to(self.device), position_ids=positions, use_cache=False
        ).last_hidden_state


def load(
    checkpoint: Checkpoint, found: Description, dtype: str = "auto", device="cpu", tokenizer: str | Path | None = None
) -> TextEncoder:
    """Qwen2-VL from the released shards or one file, recognised as `found`; the last layer is left out, because what
    goes into it is used. tokenizer: a folder or file; by default the one in the file or beside it.
    CheckpointError where the file is incomplete."""
    last = found.config["num_hidden_layers"] - 1
    module = build({**found.config, "num_hidden_layers": last})
    assign(module, checkpoint.part(found.kind), key_map=KEYS, ignore=(*NOT_TEXT, STEM + rf"layers\.{last}\..*"))
    set_frequencies(module)
    prepare(module, dtype, device, keep=("norm", "embed_tokens"))
    set_frequencies(module)  # again: 16 bits are not enough for them
    part = checkpoint.part(found.kind)
    if tokenizer is None and TOKENIZER in part:
        tokenizer, pad = usable(read_json(part[TOKENIZER].numpy().tobytes(), checkpoint.path), checkpoint.path)
    else:
        tokenizer, pad = find_tokenizer(checkpoint.path, tokenizer)
    length = (checkpoint.config or {}).get("text_len", LENGTH)
    return TextEncoder(module, tokenizer, checkpoint.path, pad, length)


THETA = 1_000_000.0  # Qwen2-VL's base of rotary positions


def build(sizes: dict) -> nn.Module:
    """transformers' Qwen2Model on the meta device, without its final norm."""
    try:
        from transformers import Qwen2Config, Qwen2Model
    except ImportError as error:
        raise ModelError(f"Qwen2-VL needs the package transformers ({error}): pip install transformers") from error
    config = Qwen2Config(**sizes, rms_norm_eps=1e-6, use_sliding_window=False, tie_word_embeddings=False)
    with torch.device("meta"):
        module = Qwen2Model(config)
    module.norm = nn.Identity()
    return module.eval().requires_grad_(False)


def set_frequencies(module: nn.Module) -> None:
    """The rotary frequencies, which no file holds, in float32 whatever the weights are."""
    dim = module.config.hidden_size // module.config.num_attention_heads
    frequency = 1 / THETA ** (torch.arange(0, dim, 2, dtype=torch.int64).float() / dim)
    module.rotary_emb.inv_freq = module.rotary_emb.original_inv_freq = frequency


TOKENIZER_ADVICE = (
    "ComfyUI carries it; elsewhere put the tokenizer.json of Qwen/Qwen2-VL-7B-Instruct (or its vocab.json and "
    "merges.txt) into the same folder, or keep the released folders text_encoder/ and tokenizer/ side by side."
)


def find_tokenizer(path: Path, stated: str | Path | None = None):
    """A function from text to token ids and the id of padding: from `stated`, else from beside the file or the folder;
    no function where there is none (ids can still be encoded)."""
    folder = path if path.is_dir() else path.parent
    places = [folder, folder / "tokenizer", folder.parent / "tokenizer"] if stated is None else [Path(stated)]
    for place in places:
        file = place if place.is_file() else place / "tokenizer.json"
        if file.is_file():
            tokenizer = read_json(file)
        elif (place / "vocab.json").is_file() and (place / "merges.txt").is_file():
            tokenizer = read_qwen(place, SPECIAL)
        else:
            continue
        return usable(tokenizer, place)
    if stated is not None:
        raise CheckpointError(f"{stated} holds no tokenizer (tokenizer.json). {TOKENIZER_ADVICE}")
    return None, PAD


def usable(tokenizer, place: Path):
    """A function from text to token ids and the id of padding. CheckpointError where it is not Qwen2-VL's tokenizer."""
    pad = tokenizer.token_to_id("<|endoftext|>")
    if pad is None:
        raise CheckpointError(f"{place} holds another tokenizer than Qwen2-VL's. {TOKENIZER_ADVICE}")
    return (lambda text: tokenizer.encode(text, add_special_tokens=False).ids), pad
