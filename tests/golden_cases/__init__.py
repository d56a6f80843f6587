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


# Cases of one network, which can be run on any device; the others run on the CPU.
ON_ANY_DEVICE = {
    "wan_dit_i2v", "wan_dit_t2v", "wan_vae", "motion_patch", "ea_dit_t2v", "ea_dit_inp", "ea_dit_control",
    "ea_dit_control_camera", "ea_vae", "tora_dit_t2v", "tora_dit_i2v", "tora_sat_dit_t2v", "tora_sat_dit_i2v",
    "traj_extractor", "mgf", "kijai_tora_files", "cogvideox_vae", "cogvideox_vae_tiled", "i2v_prepare_latents",
}  # fmt: skip


class GoldenCase:
    """Reads the folder's files lazily. `data` is the whole case.json; `config` its configuration. device: where the
    network's weights and inputs lie."""

    def __init__(self, folder: Path, device: str = "cpu"):
        self.folder = Path(folder)
        self.data = json.loads((self.folder / "case.json").read_text(encoding="utf-8"))
        self.name: str = self.data["case"]
        self.config: dict = self.data.get("config", {})
        self.device = device if self.name in ON_ANY_DEVICE else "cpu"

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        return self.tensors("inputs.safetensors")

    @cached_property
    def outputs(self) -> dict[str, Tensor]:
        return load_file(self.folder / "outputs.safetensors")

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        return self.tensors("weights.safetensors")

    def tensors(self, filename: str) -> dict[str, Tensor]:
        return {name: value.to(self.device) for name, value in load_file(self.folder / filename).items()}

    def close(self, actual: Tensor, expected: Tensor, label: str) -> None:
        """Equal within the case's tolerance, in shape and values."""
        assert tuple(actual.shape) == tuple(expected.shape), (
            f"{self.name} {label}: {actual.shape}, not {expected.shape}"
        )
        torch.testing.assert_close(
            actual.to("cpu", expected.dtype), expected.cpu(), **self.data["tolerance"],
            msg=lambda text: f"{self.name} {label}: {text}",
        )  # fmt: skip

    def check(self, output: str, actual: Tensor) -> None:
        self.close(actual, self.outputs[output], output)


def configured(cls, values: dict):
    """A configuration dataclass of those `values` that it has a field for."""
    names = {field.name for field in fields(cls)}
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in names})
