"""A golden case: what the official code computed, as a folder of data. `tests/test_golden.py` runs every case it
finds."""

from __future__ import annotations

import json
from dataclasses import fields
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor


class GoldenCase:
    """Reads the folder's files lazily. `data` is the whole case.json; `config` its configuration."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.data = json.loads((self.folder / "case.json").read_text(encoding="utf-8"))
        self.name: str = self.data["case"]
        self.config: dict = self.data.get("config", {})

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        return self.tensors("inputs.safetensors")

    @cached_property
    def outputs(self) -> dict[str, Tensor]:
        return self.tensors("outputs.safetensors")

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        return self.tensors("weights.safetensors")

    def tensors(self, filename: str) -> dict[str, Tensor]:
        return load_file(self.folder / filename)

    def close(self, actual: Tensor, expected: Tensor, label: str) -> None:
        """Equal within the case's tolerance, in shape and values."""
        assert tuple(actual.shape) == tuple(expected.shape), (
            f"{self.name} {label}: {actual.shape}, not {expected.shape}"
        )
        torch.testing.assert_close(
            actual.to(expected.dtype), expected, **self.data["tolerance"],
            msg=lambda text: f"{self.name} {label}: {text}",
        )  # fmt: skip

    def check(self, output: str, actual: Tensor) -> None:
        self.close(actual, self.outputs[output], output)


def configured(cls, values: dict):
    """A configuration dataclass of those `values` that it has a field for."""
    names = {field.name for field in fields(cls)}
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in names})
