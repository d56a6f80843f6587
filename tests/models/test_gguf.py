"""GGUF files through the gguf package, and one clear error without it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from comfyui_trajectory.models.common.checkpoint import CheckpointError, open_checkpoint

gguf = pytest.importorskip("gguf")


@pytest.fixture
def file(tmp_path):
    random = np.random.default_rng(0)
    weight = random.standard_normal((48, 64)).astype(np.float32)
    kernel = random.standard_normal((8, 4, 1, 2, 2)).astype(np.float32)
    writer = gguf.GGUFWriter(str(tmp_path / "model.gguf"), "wan")
    for name, kind in (("q8", gguf.GGMLQuantizationType.Q8_0), ("q4", gguf.GGMLQuantizationType.Q4_0)):
        writer.add_tensor(name, gguf.quants.quantize(weight, kind), raw_dtype=kind)
    writer.add_tensor("f16", weight.astype(np.float16))
    writer.add_tensor("f32", weight)
    writer.add_array("comfy.gguf.orig_shape.kernel", list(kernel.shape))
    writer.add_tensor("kernel", kernel.reshape(8, -1))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "model.gguf", torch.from_numpy(weight), torch.from_numpy(kernel)


def test_tensors_come_with_their_shapes_and_within_their_quantisation(file) -> None:
    path, weight, kernel = file
    checkpoint = open_checkpoint(path)
    for name, error, dtype in (("f32", 0, torch.float32), ("f16", 1e-3, torch.float16), ("q8", 0.01, torch.float16),
                               ("q4", 0.12, torch.float16)):  # fmt: skip
        assert checkpoint.shapes[name] == (48, 64) and checkpoint.dtypes[name] == checkpoint[name].dtype == dtype
        assert (checkpoint[name].float() - weight).norm() <= error * weight.norm()
    assert checkpoint.shapes["kernel"] == (8, 4, 1, 2, 2) and torch.equal(checkpoint["kernel"], kernel)


def test_without_the_package_or_with_a_damaged_file_the_error_says_what_to_do(file, tmp_path, monkeypatch) -> None:
    (tmp_path / "damaged.gguf").write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match=r"damaged\.gguf cannot be read as GGUF.*Download"):
        open_checkpoint(tmp_path / "damaged.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(CheckpointError, match=r"model\.gguf is a GGUF file.*pip install gguf"):
        open_checkpoint(file[0])
