"""Tokenizer files, read with the `tokenizers` package. Knows formats, no model."""

from __future__ import annotations

from pathlib import Path

from .errors import CheckpointError

# What GPT-2's byte-level BPE cuts text into before merging, as Qwen2 refines it: transformers
# qwen2/tokenization_qwen2.py.
QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def read_json(content: Path | bytes, file: Path | None = None):
    """The tokenizer of a tokenizer.json, or of its bytes in `file`; CheckpointError where it is none."""
    from tokenizers import Tokenizer

    file = file or content
    try:
        return Tokenizer.from_buffer(content) if isinstance(content, bytes) else Tokenizer.from_file(str(content))
    except Exception as error:  # the tokenizers package raises plain Exception
        raise CheckpointError(f"{file} is not a tokenizer.json ({error}). Download it again.") from error


def read_qwen(folder: Path, special: dict[str, int]):
    """Qwen2's tokenizer from vocab.json and merges.txt in `folder`. special: its control tokens and their ids."""
    from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import BPE

    try:
        model = BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    except Exception as error:  # the tokenizers package raises plain Exception
        raise CheckpointError(
            f"{folder}: vocab.json and merges.txt cannot be read ({error}). Get them again."
        ) from error
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in special])
    wrong = {text: tokenizer.token_to_id(text) for text, id in special.items() if tokenizer.token_to_id(text) != id}
    if wrong:
        raise CheckpointError(f"{folder} holds another tokenizer than Qwen2's: {wrong} instead of {special}.")
    return tokenizer
