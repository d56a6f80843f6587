"""The texts of the nodes in four languages belong to the nodes as they are now.

Where an English text has changed: `python tests/nodes/locales.py`, translate what is named here in locales/*/, and copy
the English file to tests/nodes/translated_from.json, which is what the translations are of.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .locales import LOCALES, english, flat

OWN_LETTERS = {"zh": r"[\u4e00-\u9fff]", "ja": r"[\u3040-\u30ff\u4e00-\u9fff]", "ko": r"[\uac00-\ud7a3]"}
# Only one of the languages has it: what tells Japanese from Chinese, and finds English that was left.
SENTENCE = {"zh": r"[\u4e00-\u9fff]", "ja": r"[\u3040-\u30ff]", "ko": r"[\uac00-\ud7a3]"}
SAME = {"VAE", "CFG", "FPS", "JSON", "top-k"}  # labels that are no words
SHORT = 12  # characters: words such as 軌跡。 need no kana


def locale(language: str) -> dict[str, str]:
    return flat(json.loads((LOCALES / language / "nodeDefs.json").read_text("utf-8")))


def test_english_is_what_the_nodes_say():
    assert locale("en") == flat(english())


def test_the_translations_are_of_the_english_texts_as_they_are_now():
    translated = flat(json.loads(Path(__file__).with_name("translated_from.json").read_text("utf-8")))
    now = locale("en")
    changed = sorted(key for key in {*now, *translated} if now.get(key) != translated.get(key))
    assert changed == [], "to be translated anew in locales/"


@pytest.mark.parametrize("language", OWN_LETTERS)
def test_every_text_is_there_and_in_its_own_script(language):
    found = locale(language)
    assert set(found) == set(locale("en"))
    for key, text in found.items():
        assert text.strip() == text != "", key
        if text not in SAME:
            assert re.search(OWN_LETTERS[language], text), (key, text)
        if len(text) > SHORT:
            assert re.search(SENTENCE[language], text), (key, text)


@pytest.mark.parametrize("language", OWN_LETTERS)
def test_numbers_files_and_choices_are_the_same_in_every_language(language):
    """What is not translated: numbers, endings of files, folders, option values before a colon."""
    kept = re.compile(r"\d+(?:\.\d+)?|\.(?:pth|txt|npz|npy|json)\b|models/\w+|\b\w+\*?\.safetensors|\b(?:auto|none):")
    found = locale(language)
    for key, text in locale("en").items():
        for piece in kept.findall(text):
            piece = piece.rstrip(":")
            assert piece in found[key], (key, piece, found[key])


@pytest.mark.parametrize("language", OWN_LETTERS)
def test_a_node_is_called_by_one_name_wherever_it_is_mentioned(language):
    names, found = {key: text for key, text in locale("en").items() if key.endswith("display_name")}, locale(language)
    for key, text in locale("en").items():
        mentioned = [name for name in names if names[name] in text and not key.endswith("display_name")]
        longest = [n for n in mentioned if not any(names[n] != names[m] and names[n] in names[m] for m in mentioned)]
        for name in longest:
            assert found[name] in found[key], (key, found[name], found[key])
