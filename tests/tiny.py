"""Writes the four files of a tiny Wan I2V model with random weights: enough to run every step, and no more."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path

import torch
from comfyui_trajectory.models.wan.config import WanConfig, WanVAEConfig
from comfyui_trajectory.models.wan.transformer import WanTransformer
from comfyui_trajectory.models.wan.vae import WanVAE
from safetensors.torch import save_file

TEXT_DIM, CLIP_DIM = 16, 24
DEFAULTS = {
    "width": 32,
    "height": 32,
    "frames": 5,
    "fps": 8.0,
    "steps": 2,
    "cfg": 2.0,
    "shift": 3.0,
    "temperature": 10.0,
}
TRANSFORMER = WanConfig(
    dim=32, ffn_dim=48, num_heads=2, num_layers=2, text_dim=TEXT_DIM, freq_dim=32, clip_dim=CLIP_DIM
)
VAE = WanVAEConfig(dim=4)
FILES = {
    "diffusion_models": "tiny_transformer.safetensors", "vae": "tiny_vae.safetensors",
    "text_encoders": "tiny_text_encoder.safetensors", "clip_vision": "tiny_image_encoder.safetensors",
}  # fmt: skip


def write_tiny(folder: Path) -> Path:
    """Writes <folder>/<ComfyUI's folder of the kind>/<file> for each of FILES."""
    torch.manual_seed(0)
    write_module(
        folder,
        "diffusion_models",
        WanTransformer(TRANSFORMER),
        {**asdict(TRANSFORMER), "motion": "ati", "defaults": DEFAULTS},
    )
    write_module(folder, "vae", WanVAE(VAE), asdict(VAE))
    write(folder, "text_encoders", text_weights(), {})
    write(folder, "clip_vision", image_weights(), {"num_attention_heads": 2})
    return folder


def write_module(folder: Path, kind: str, module: torch.nn.Module, config: dict) -> None:
    weights = {name: value.detach().contiguous() for name, value in module.state_dict().items()}
    for name, value in weights.items():
        if name.startswith("head.") and value.ndim > 1:
            torch.nn.init.normal_(value, std=0.05)  # Wan begins with a head of zeros, which would hide every difference
    write(folder, kind, weights, config)


def write(folder: Path, kind: str, weights: dict, config: dict) -> None:
    (folder / kind).mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / kind / FILES[kind], metadata={"config": json.dumps(config)})


def text_weights(heads: int = 2, layers: int = 1) -> dict[str, torch.Tensor]:
    dim = TEXT_DIM
    weights = {"shared.weight": torch.randn(64, dim), "encoder.final_layer_norm.weight": torch.ones(dim)}
    for i in range(layers):
        block = f"encoder.block.{i}.layer"
        weights |= {f"{block}.0.SelfAttention.{n}.weight": torch.randn(dim, dim) / 4 for n in "qkvo"}
        weights |= {f"{block}.1.DenseReluDense.{n}.weight": torch.randn(24, dim) / 4 for n in ("wi_0", "wi_1")}
        weights[f"{block}.0.SelfAttention.relative_attention_bias.weight"] = torch.randn(32, heads)
        weights[f"{block}.1.DenseReluDense.wo.weight"] = torch.randn(dim, 24) / 4
        weights |= {f"{block}.{n}.layer_norm.weight": torch.ones(dim) for n in (0, 1)}
    weights["spiece_model"] = torch.frombuffer(bytearray(spiece()), dtype=torch.uint8).clone()
    return weights


def spiece() -> bytes:
    """A sentencepiece model like umT5's in small: padding 0, </s> 1."""
    import sentencepiece

    stream = io.BytesIO()
    words = (
        "a bear lies in the shade and the sun moves over a red car with a dog by the sea , the camera follows".split()
    )
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words * 20), model_writer=stream, vocab_size=40, hard_vocab_limit=False,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    return stream.getvalue()


def image_weights(layers: int = 2, patch: int = 16, side: int = 32) -> dict[str, torch.Tensor]:
    dim, positions = CLIP_DIM, (side // patch) ** 2 + 1
    weights = {
        "embeddings.class_embedding": torch.randn(dim),
        "embeddings.position_embedding.weight": torch.randn(positions, dim) / 4,
        "embeddings.patch_embedding.weight": torch.randn(dim, 3, patch, patch) / 27,
    }
    for name in ("pre_layrnorm", "post_layernorm"):
        weights |= {f"{name}.weight": torch.ones(dim), f"{name}.bias": torch.zeros(dim)}
    for i in range(layers):
        block = f"encoder.layers.{i}"
        for name, (rows, columns) in {
            "self_attn.q_proj": (dim, dim), "self_attn.k_proj": (dim, dim), "self_attn.v_proj": (dim, dim),
            "self_attn.out_proj": (dim, dim), "mlp.fc1": (32, dim), "mlp.fc2": (dim, 32),
        }.items():  # fmt: skip
            weights |= {
                f"{block}.{name}.weight": torch.randn(rows, columns) / 5,
                f"{block}.{name}.bias": torch.zeros(rows),
            }
        for name in ("layer_norm1", "layer_norm2"):
            weights |= {f"{block}.{name}.weight": torch.ones(dim), f"{block}.{name}.bias": torch.zeros(dim)}
    return {f"vision_model.{name}": value for name, value in weights.items()}
