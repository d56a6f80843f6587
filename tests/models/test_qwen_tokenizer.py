"""Qwen2's tokenizer from its two files, as releases and ComfyUI carry it."""

from __future__ import annotations

import json

import pytest
from comfyui_trajectory.models import CheckpointError
from comfyui_trajectory.models.common.tokens import read_qwen
from comfyui_trajectory.models.easyanimate.text import PAD, SPECIAL, TEMPLATE, TextEncoder, find_tokenizer
from tokenizers import pre_tokenizers


def write(folder, words: int = PAD):
    """A vocabulary of the right length: bytes, a merged word or two, and fill."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = [*letters, "do", "dog", "Ġd", *(f"<{i}>" for i in range(words - len(letters) - 3))]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(entries)}))
    (folder / "merges.txt").write_text("#version: 0.2\nd o\ndo g\nĠ d\n")
    return {word: i for i, word in enumerate(entries)}


def test_control_tokens_stay_whole_and_words_are_merged(tmp_path):
    ids = write(tmp_path)
    encode, pad = find_tokenizer(tmp_path / "model.safetensors")
    assert pad == PAD
    found = encode(TEMPLATE.format("dog"))
    assert [found.count(SPECIAL[name]) for name in ("<|im_start|>", "<|im_end|>")] == [3, 2]
    assert ids["dog"] in found and ids["Ġ"] not in encode("dog\n\n12")
    assert encode("12") == [ids["1"], ids["2"]], "digits one by one"


def test_a_vocabulary_of_another_length_is_refused(tmp_path):
    write(tmp_path, 1000)
    with pytest.raises(CheckpointError, match="another tokenizer than Qwen2's"):
        read_qwen(tmp_path, SPECIAL)
    (tmp_path / "merges.txt").write_text("d o g x y")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_qwen(tmp_path, SPECIAL)


def test_without_a_tokenizer_the_error_says_where_one_comes_from(tmp_path):
    assert find_tokenizer(tmp_path / "model.safetensors") == (None, PAD)
    with pytest.raises(CheckpointError, match="holds no tokenizer.*Qwen/Qwen2-VL-7B-Instruct"):
        find_tokenizer(tmp_path, tmp_path)
    encoder = TextEncoder.__new__(TextEncoder)
    encoder.tokenizer, encoder.path = None, "qwen.safetensors"
    with pytest.raises(CheckpointError, match="qwen.safetensors has no tokenizer beside it"):
        encoder.encode("a dog")
    write(tmp_path)
    encoder.use_tokenizer(tmp_path)
    assert encoder.tokenizer("dog") and encoder.pad == PAD
