"""Writes tiny EasyAnimate models with random weights, one for each variant: enough to run every step, and no more."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from comfyui_trajectory.models.easyanimate.config import EasyAnimateConfig, EasyAnimateVAEConfig
from comfyui_trajectory.models.easyanimate.text import SPECIAL
from comfyui_trajectory.models.easyanimate.transformer import EasyAnimateTransformer
from comfyui_trajectory.models.easyanimate.vae import EasyAnimateVAE
from safetensors.torch import save_file

TEXT_DIM = 24
CHANNELS = {"t2v": 16, "inp": 33, "control": 48, "camera": 38}
DEFAULTS = {
    "width": 48, "height": 32, "frames": 5, "steps": 3, "base_resolution": 64,
    "step_cache_coefficients": [0, 0, 0, 1.0, 0.0],
}  # fmt: skip
TRANSFORMER = EasyAnimateConfig(
    num_attention_heads=2,
    attention_head_dim=16,
    num_layers=2,
    mmdit_layers=1,
    text_embed_dim=TEXT_DIM,
    time_embed_dim=16,
)
VAE = EasyAnimateVAEConfig(block_out_channels=(4, 4, 8, 8), layers_per_block=1, norm_num_groups=2)
VAE_FILE, TEXT_FILE = "tiny_easyanimate_vae.safetensors", "tiny_qwen/model.safetensors"


def transformer_file(variant: str) -> str:
    return f"tiny_easyanimate_{variant}.safetensors"


def random_weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights of the module with nothing at zero, so that every part shows in the result."""
    return {
        name: torch.randn(value.shape) * (value[0].numel() ** -0.5 if value.ndim > 1 else 0.3) + (value.ndim == 1) * 0.5
        for name, value in module.state_dict().items()
    }


def transformer(variant: str) -> EasyAnimateTransformer:
    module = EasyAnimateTransformer(replace(TRANSFORMER, in_channels=CHANNELS[variant])).eval()
    module.load_state_dict(random_weights(module))
    return module


def write_tiny(folder: Path) -> Path:
    """Writes <folder>/<ComfyUI's folder of the kind>/<file>; the tokenizer lies beside the text encoder."""
    torch.manual_seed(0)
    for variant in CHANNELS:
        config = {"defaults": DEFAULTS}
        write(folder / "diffusion_models" / transformer_file(variant), transformer(variant).state_dict(), config)
    write(folder / "vae" / VAE_FILE, random_weights(EasyAnimateVAE(VAE)), asdict(VAE))
    write(folder / "text_encoders" / TEXT_FILE, text_weights(), {"num_attention_heads": 2})
    tokenizer().save(str(folder / "text_encoders" / TEXT_FILE).replace("model.safetensors", "tokenizer.json"))
    return folder


def write(file: Path, weights: dict, config: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, file, metadata={"config": json.dumps(config)})


def tokenizer():
    """A byte-level tokenizer without merges, with Qwen2's control tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.add_special_tokens(list(SPECIAL))
    return made


def text_weights(layers: int = 2) -> dict[str, torch.Tensor]:
    """Qwen2 with two heads that share their keys, under the released names, with a bit of the vision tower."""
    dim, keys, feed = TEXT_DIM, TEXT_DIM // 2, 24
    weights = {
        "model.embed_tokens.weight": torch.randn(260, dim), "model.norm.weight": torch.ones(dim),
        "lm_head.weight": torch.randn(260, dim), "visual.merger.ln_q.weight": torch.ones(4),
    }  # fmt: skip
    for i in range(layers):
        block = f"model.layers.{i}"
        for name, rows in {"q": dim, "k": keys, "v": keys}.items():
            weights[f"{block}.self_attn.{name}_proj.weight"] = torch.randn(rows, dim) / 4
            weights[f"{block}.self_attn.{name}_proj.bias"] = torch.randn(rows) / 4
        weights[f"{block}.self_attn.o_proj.weight"] = torch.randn(dim, dim) / 4
        weights |= {f"{block}.mlp.{name}_proj.weight": torch.randn(feed, dim) / 4 for name in ("gate", "up")}
        weights[f"{block}.mlp.down_proj.weight"] = torch.randn(dim, feed) / 5
        weights |= {f"{block}.{name}_layernorm.weight": torch.ones(dim) for name in ("input", "post_attention")}
    return weights
