"""GGUF files, as tensors by name, through the `gguf` package. Quantised tensors become float16 when they are read."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from .entry import Entry
from .errors import CheckpointError

# Where city96/ComfyUI-GGUF (tools/convert.py) keeps the shape of a tensor that GGUF cannot hold, such as 5-d kernels.
ORIGINAL_SHAPE = "comfy.gguf.orig_shape."
PLAIN = {"F32": torch.float32, "F16": torch.float16}
# transformers' names of T5 and umT5, and llama.cpp's in files: gguf-py/gguf/constants.py, MODEL_ARCH.T5ENCODER.
T5_NAMES = {
    "shared": "token_embd", "final_layer_norm": "output_norm",
    "layer.0.SelfAttention.relative_attention_bias": "attn_rel_b", "layer.0.layer_norm": "attn_norm",
    **{f"layer.0.SelfAttention.{name}": f"attn_{name}" for name in "qkvo"},
    "layer.1.DenseReluDense.wi_0": "ffn_gate", "layer.1.DenseReluDense.wi_1": "ffn_up",
    "layer.1.DenseReluDense.wo": "ffn_down", "layer.1.layer_norm": "ffn_norm",
    "encoder": "enc", "decoder": "dec", "block": "blk",
}  # fmt: skip
FROM_LLAMA_CPP = {theirs: ours for ours, theirs in T5_NAMES.items()}


def read_gguf(file: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """({name: entry}, no metadata). CheckpointError where the package is missing or the file is damaged."""
    try:
        import gguf
    except ImportError as error:
        raise CheckpointError(
            f"{file} is a GGUF file, which needs the gguf package: pip install gguf. Or use the .safetensors version "
            "of "
            "the model; an fp8 file needs about as much memory as a Q8 GGUF."
        ) from error
    try:
        reader = gguf.GGUFReader(file)
    except (ValueError, OSError, IndexError, KeyError, OverflowError) as error:
        raise CheckpointError(f"{file} cannot be read as GGUF ({error}). Download the file again.") from error
    entries = {}
    for tensor in reader.tensors:
        field = reader.fields.get(ORIGINAL_SHAPE + tensor.name)
        stated = tensor.shape[::-1] if field is None else [field.parts[i][0] for i in field.data]
        shape = tuple(int(size) for size in stated)
        kind = tensor.tensor_type.name
        if math.prod(shape) != tensor.n_elements:
            raise CheckpointError(f"{file}: {tensor.name!r} has {tensor.n_elements} numbers for a shape of {shape}.")
        dtype = PLAIN.get(kind, torch.bfloat16 if kind == "BF16" else torch.float16)
        entries[tensor.name] = Entry(shape, dtype, Reading(file, tensor, shape, dtype))
    if "enc.blk.0.attn_q.weight" in entries:
        entries = {t5_name(name): entry for name, entry in entries.items()}
    return entries, {}


def t5_name(name: str) -> str:
    """enc.blk.3.ffn_up.weight -> encoder.block.3.layer.1.DenseReluDense.wi_1.weight"""
    return ".".join(FROM_LLAMA_CPP.get(part, part) for part in name.split("."))


class Reading:
    """Gives one tensor, dequantised; nothing is read before."""

    def __init__(self, file: Path, tensor, shape: tuple[int, ...], dtype: torch.dtype):
        self.file, self.tensor, self.shape, self.dtype = file, tensor, shape, dtype

    def __call__(self) -> torch.Tensor:
        from gguf.quants import dequantize

        data, kind = self.tensor.data, self.tensor.tensor_type
        if kind.name in PLAIN:
            return torch.from_numpy(np.array(data)).reshape(self.shape)
        try:
            values = dequantize(data, kind)
        except NotImplementedError as error:
            raise CheckpointError(
                f"{self.file}: {self.tensor.name!r} is quantised as {kind.name}, which the gguf package cannot read. "
                "Use a "
                "Q8_0, Q6_K, Q5_K or Q4_K file."
            ) from error
        return torch.from_numpy(values).reshape(self.shape).to(self.dtype)
