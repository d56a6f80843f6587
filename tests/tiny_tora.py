"""Writes the three files of a tiny Tora model with random weights, beside those of `tiny`."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from comfyui_trajectory.models.cogvideox.config import CogVideoXConfig, CogVideoXVAEConfig
from comfyui_trajectory.models.cogvideox.transformer import CogVideoXTransformer
from comfyui_trajectory.models.cogvideox.vae import CogVideoXVAE
from safetensors.torch import save_file
from tiny import TEXT_DIM, text_weights

TEXT_LENGTH = 12
DEFAULTS = {"frames": 9, "steps": 2, "cfg": 2.0}
TRANSFORMER = CogVideoXConfig(
    num_attention_heads=2, attention_head_dim=16, time_embed_dim=16, text_embed_dim=TEXT_DIM, num_layers=2,
    sample_width=4,
    sample_height=4, sample_frames=9, max_text_seq_length=TEXT_LENGTH, traj_extractor_channels=8,
)  # fmt: skip
VAE = CogVideoXVAEConfig(block_out_channels=(4, 4, 8, 8), layers_per_block=1, norm_num_groups=2)
T2V, I2V, PLAIN = "tiny_tora_t2v.safetensors", "tiny_tora_i2v.safetensors", "tiny_cogvideox.safetensors"
VAE_FILE, TEXT_FILE = "tiny_cogvideox_vae.safetensors", "tiny_t5.safetensors"
BARE_TEXT_FILE = "tiny_t5_without_tokenizer.safetensors"  # knows as many tokens as the real one


def write_tiny_tora(folder: Path) -> Path:
    """Writes both variants of Tora, plain CogVideoX, the VAE and the text encoder into ComfyUI's folders below
    `folder`."""
    torch.manual_seed(0)
    i2v = replace(TRANSFORMER, in_channels=32, use_learned_positional_embeddings=True)
    for name, config in ((T2V, TRANSFORMER), (I2V, i2v), (PLAIN, replace(TRANSFORMER, traj_extractor_channels=0))):
        stated = {**asdict(config), "defaults": DEFAULTS}
        write(folder / "diffusion_models" / name, lively(CogVideoXTransformer(config)), stated)
    write(folder / "vae" / VAE_FILE, CogVideoXVAE(VAE).state_dict(), asdict(VAE))
    weights = t5_weights()
    write(folder / "text_encoders" / TEXT_FILE, weights, {"text_len": TEXT_LENGTH})
    del weights["spiece_model"]
    weights["shared.weight"] = torch.randn(32128, TEXT_DIM)
    write(folder / "text_encoders" / BARE_TEXT_FILE, weights, {"text_len": TEXT_LENGTH})
    return folder


def write(file: Path, weights: dict, config: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().contiguous() for name, value in weights.items()}
    save_file(weights, file, metadata={"config": json.dumps(config)})


def lively(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights with those that begin as zeros made random, since they would hide every difference."""
    for name, parameter in module.named_parameters():
        if "temporal" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return module.state_dict()


def t5_weights() -> dict[str, torch.Tensor]:
    """T5 v1.1: as umT5, with a position bias in its first block only."""
    weights = text_weights(layers=2)
    return {key: value for key,
    value in weights.items() if "block.1" not in key or "relative_attention_bias" not in key}
