"""GGUF files through the gguf package, and one clear error without it."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from comfyui_trajectory.models import load_model, load_text_encoder
from comfyui_trajectory.models.cogvideox.transformer import CogVideoXTransformer
from comfyui_trajectory.models.common.checkpoint import CheckpointError, open_checkpoint
from safetensors.torch import save_file

from ..tiny_tora import t5_weights
from .test_cogvideox import I2V, SIZES, randomised, run, stated

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


def write(path, architecture: str, tensors: dict, quantised: set) -> None:
    """As the converters in circulation do: those of `quantised` as Q8_0, the rest in float32."""
    kind = gguf.GGMLQuantizationType.Q8_0
    writer = gguf.GGUFWriter(str(path), architecture)
    for name, value in tensors.items():
        array = value.float().contiguous().numpy()
        if array.ndim > 4:
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(array.shape))
            array = array.reshape(-1, array.shape[-1])
        if name in quantised:
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("config", [SIZES, I2V], ids=["t2v", "i2v"])
def test_tora_in_gguf_computes_with_what_is_stored(tmp_path, config) -> None:
    config = replace(config, attention_head_dim=32, time_embed_dim=32, text_embed_dim=64)  # Q8_0 packs 32 numbers
    module = randomised(CogVideoXTransformer(config))
    state = {name: value for name, value in module.state_dict().items() if value.ndim}
    quantised = {name for name, value in state.items() if value.ndim == 2 and value.shape[1] % 32 == 0}
    write(tmp_path / "tora.gguf", "cogvideox", state, quantised)
    model = load_model(tmp_path / "tora.gguf", config=stated(config))
    assert len(quantised) > 20
    exact, found = run(module), run(model.module)
    assert 0 < (found - exact).norm() < 0.03 * exact.norm()


LLAMA_CPP = {  # transformers' names -> those of convert_hf_to_gguf.py
    "layer.0.SelfAttention.relative_attention_bias": "attn_rel_b", "layer.0.SelfAttention.": "attn_",
    "layer.0.layer_norm": "attn_norm", "layer.1.layer_norm": "ffn_norm", "layer.1.DenseReluDense.wi_0": "ffn_gate",
    "layer.1.DenseReluDense.wi_1": "ffn_up", "layer.1.DenseReluDense.wo": "ffn_down", "encoder.block.": "enc.blk.",
    "encoder.final_layer_norm": "enc.output_norm", "shared.": "token_embd.",
}  # fmt: skip


def test_t5_in_gguf_has_other_names_and_gives_the_same_rows(tmp_path) -> None:
    torch.manual_seed(0)
    weights = t5_weights()
    del weights["spiece_model"]
    renamed = {}
    for name, value in weights.items():
        for old, new in LLAMA_CPP.items():
            name = name.replace(old, new)
        renamed[name] = value
    assert not any("layer" in name or "encoder" in name for name in renamed)
    write(tmp_path / "t5.gguf", "t5encoder", renamed, set())
    save_file(weights, tmp_path / "t5.safetensors")
    ids = torch.tensor([[5, 9, 3, 1, 0, 0]])
    one, other = (load_text_encoder(tmp_path / f"t5.{ending}").encode_ids(ids) for ending in ("safetensors", "gguf"))
    assert torch.equal(one, other)
