"""Writes the files of the embedded models: official key names, sizes and defaults in the header. Trains nothing.

The VAE's latents are brought to Wan 2.1's statistics by its 1x1x1 convolutions, so the files need no statistics of
their own and whatever reads Wan's VAE reads this one.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from ..models.easyanimate.text import TOKENIZER
from ..models.wan.latent import MEAN, STD
from ..models.wan.vae import WanVAE
from . import encoders

log = logging.getLogger(__name__)

ABOUT = {
    "format": "pt",
    "license": "Apache-2.0",
    "description": "A small model of ComfyUI-Trajectory, of the real one's architecture, trained by its training folder.",
    "training_data": "Synthetic motion over photographs under free licences, listed in training/README.md.",
}
# Not in fp8: what every token passes through, and what is small.
WIDE = (
    "norm", "patch_embed", "head", "text_embedding", "time_embedding", "img_emb", "modulation", "proj_out", "text_proj",
)  # fmt: skip


@torch.no_grad()
def fold_statistics(module: WanVAE, latents: Tensor) -> None:
    """Changes the outer convolutions so that latents like these [16, n] (plain) get Wan 2.1's mean and deviation."""
    mean, std = latents.mean(1), latents.std(1)
    wanted_mean, wanted_std = torch.tensor(MEAN), torch.tensor(STD)
    gain = wanted_std / std
    into, out, z = module.conv1, module.conv2, len(MEAN)
    into.weight[:z] *= gain.view(-1, 1, 1, 1, 1)
    into.bias[:z] = (into.bias[:z] - mean) * gain + wanted_mean
    into.bias[z:] += 2 * gain.log()  # log variances
    out.bias += out.weight[:, :, 0, 0, 0] @ (mean - wanted_mean / gain)
    out.weight /= gain.view(1, -1, 1, 1, 1)


def fit_preview(latents: Tensor, pixels: Tensor) -> list[list[float]]:
    """Sixteen rows and a bias that show normalised latents [n, 16, f, h, w] as pixels [n, 3, 1 + 4 (f - 1), H, W]."""
    last = torch.cat([pixels[:, :, :1], pixels[:, :, 4::4]], dim=2)
    small = F.avg_pool3d(last, (1, 8, 8)).movedim(1, -1).flatten(0, -2)
    rows = latents.movedim(1, -1).flatten(0, -2)
    rows = torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
    return [[round(v, 5) for v in row] for row in torch.linalg.lstsq(rows, small).solution.tolist()]


def save_vae(module: nn.Module, family: str, preview: list, file: Path) -> None:
    write(file, module.state_dict(), {**asdict(module.config), "family": family, "latent_rgb": preview})


def save_transformer(module: nn.Module, stated: dict, defaults: dict, preview: list, file: Path) -> None:
    """Large Linear weights as scaled fp8, a scale a row; the rest in 16 bit. stated: family, and what else tells what
    it is."""
    write(file, in_fp8(module), {**asdict(module.config), **stated, "defaults": defaults, "latent_rgb": preview})


def in_fp8(module: nn.Module) -> dict[str, Tensor]:
    largest = torch.finfo(torch.float8_e4m3fn).max
    state = {}
    for name, value in module.state_dict().items():
        if value.ndim == 2 and not any(part in name for part in WIDE):
            scale = value.abs().amax(1, keepdim=True).clamp(min=1e-12) / largest
            state[name] = (value / scale).clamp(-largest, largest).to(torch.float8_e4m3fn)
            state[name.removesuffix("weight") + "scale_weight"] = scale[:, 0].float()
        else:
            state[name] = value
    return state


def save_text_encoder(module: nn.Module, tokenizer: bytes, stated: dict, file: Path) -> None:
    """stated: sizes, family, and text_len, the tokens that the transformer takes."""
    state = {name: value for name, value in module.state_dict().items() if name != "encoder.embed_tokens.weight"}
    name = TOKENIZER if stated["family"] == "easyanimate" else "spiece_model"
    state[name] = torch.frombuffer(bytearray(tokenizer), dtype=torch.uint8)
    write(file, state, stated)


def save_image_encoder(module: nn.Module, file: Path) -> None:
    prefix = "" if any(name.startswith("vision_model.") for name in module.state_dict()) else "vision_model."
    state = {prefix + name: value for name, value in module.state_dict().items() if "position_ids" not in name}
    write(file, state, {**encoders.IMAGE, "family": "wan"})


def write(file: Path, state: dict[str, Tensor], config: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, value in state.items():
        keep = value.dtype in (torch.uint8, torch.float8_e4m3fn) or name.endswith("scale_weight")
        tensors[name] = (value if keep else value.half()).contiguous().clone()
    save_file(tensors, file, {**ABOUT, "config": json.dumps(config)})
    log.info("%s: %.2f MB", file.name, file.stat().st_size / 1e6)
