"""The same VAE, with the same weights, as this pack, diffusers, ComfyUI's core and the official code build it.

A family is a table of builders: each is given the weights under this pack's names and a Peer's arguments, and gives the
function that encodes or decodes. Nothing is built that is not asked for, so that memory can be measured.
"""

from __future__ import annotations

import importlib
import re
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from comfyui_trajectory.models.cogvideox.config import CogVideoXVAEConfig
from comfyui_trajectory.models.cogvideox.vae import CogVideoXVAE
from comfyui_trajectory.models.easyanimate.config import EasyAnimateVAEConfig
from comfyui_trajectory.models.easyanimate.vae import EasyAnimateVAE
from comfyui_trajectory.models.wan.config import WanVAEConfig
from comfyui_trajectory.models.wan.vae import WanVAE
from torch import Tensor, nn

Weights = dict[str, Tensor]
# [1, 3, 1 + 4n, height, width] in -1..1 -> the mean of the latents, and latents -> the video, not clamped
Coders = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
# diffusers' names of Wan's VAE -> the release's.
WAN_KEYS = (
    (r"^quant_conv", "conv1"), (r"^post_quant_conv", "conv2"), (r"\.conv_in\.", ".conv1."),
    (r"\.norm_out\.", ".head.0."), (r"\.conv_out\.", ".head.2."), (r"mid_block\.resnets\.0", "middle.0"),
    (r"mid_block\.resnets\.1", "middle.2"), (r"mid_block\.attentions\.0", "middle.1"), (r"down_blocks", "downsamples"),
    (r"up_blocks\.(\d+)\.resnets\.(\d+)", lambda m: f"upsamples.{int(m[1]) * 4 + int(m[2])}"),
    (r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"upsamples.{int(m[1]) * 4 + 3}"),
    (r"(\d+)\.norm1\.", r"\1.residual.0."), (r"(samples\.\d+|middle\.[02])\.conv1\.", r"\1.residual.2."),
    (r"(\d+)\.norm2\.", r"\1.residual.3."), (r"(\d+)\.conv2\.", r"\1.residual.6."), (r"conv_shortcut", "shortcut"),
)  # fmt: skip


@dataclass(frozen=True)
class Family:
    """build: this pack's VAE; peers: name -> builder; folders: which checkout a peer needs, if any."""

    build: Callable[[], nn.Module]
    peers: dict[str, Callable[[Weights, Path | None], Coders]]
    folders: dict[str, str] = field(default_factory=dict)


def random_weights(family: Family) -> Weights:
    """Of the size that trained ones have. The same for every process that starts with the same seed."""
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in family.build().state_dict().items()}
    generator, found = torch.Generator().manual_seed(0), {}
    for key, shape in shapes.items():
        weight = torch.randn(shape, generator=generator)
        several = weight.ndim > 1 and weight[0].numel() > 1
        found[key] = weight.mul_(weight[0].numel() ** -0.5) if several else weight.mul_(0.1).add_(1)
    return {key: value.to(torch.get_default_device(), torch.get_default_dtype()) for key, value in found.items()}


def filled(module: nn.Module, weights: Weights, table=()) -> nn.Module:
    """A module built on the meta device with the very tensors of `weights`. table: from its names to theirs."""
    state = {}
    for key, value in module.state_dict().items():
        name = key
        for pattern, replacement in table:
            name = re.sub(pattern, replacement, name)
        state[key] = weights[name].reshape(value.shape)
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build()


def ours(family: Callable[[], nn.Module]):
    def build(weights: Weights, _=None) -> Coders:
        vae = filled(on_meta(family), weights)
        return vae.encode, vae.decode

    return build


def diffusers_coders(vae: nn.Module) -> Coders:
    return lambda pixels: vae.encode(pixels).latent_dist.mode(), lambda latents: vae.decode(latents).sample


def diffusers_wan(weights: Weights, _=None) -> Coders:
    from diffusers import AutoencoderKLWan

    return diffusers_coders(filled(on_meta(AutoencoderKLWan), weights, WAN_KEYS))


def diffusers_cogvideox(weights: Weights, _=None) -> Coders:
    from diffusers import AutoencoderKLCogVideoX

    kinds = {f"{side.lower()}_block_types": (f"CogVideoX{side}Block3D",) * 4 for side in ("Down", "Up")}
    vae = on_meta(lambda: AutoencoderKLCogVideoX(
        **kinds, block_out_channels=(128, 256, 256, 512), latent_channels=16, layers_per_block=3
    ))  # fmt: skip
    return diffusers_coders(filled(vae, weights))


def diffusers_easyanimate(weights: Weights, _=None) -> Coders:
    from diffusers import AutoencoderKLMagvit

    kinds = {f"{side}_block_types": [f"Spatial{side.title()}Block3D"] + [f"SpatialTemporal{side.title()}Block3D"] * 3
             for side in ("down", "up")}  # fmt: skip
    return diffusers_coders(filled(on_meta(lambda: AutoencoderKLMagvit(**kinds, spatial_group_norm=True)), weights))


def core_wan(weights: Weights, folder: Path) -> Coders:
    sys.path.insert(0, str(folder))
    importlib.import_module("comfy.cli_args").args.cpu = not torch.cuda.is_available()
    core = importlib.import_module("comfy.ldm.wan.vae").WanVAE
    vae = filled(on_meta(lambda: core(dim=96, z_dim=16, temperal_downsample=[False, True, True])), weights)
    return vae.encode, vae.decode


def package(name: str, folder: Path) -> None:
    """A package whose __init__, which imports everything, is left out."""
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [str(folder)]


def official_wan(weights: Weights, folder: Path) -> Coders:
    """wan/modules/vae.py of a checkout of Wan-Video/Wan2.1 or bytedance/ATI."""
    package("official_wan", folder / "wan" / "modules")
    build = importlib.import_module("official_wan.vae").WanVAE_
    vae = filled(on_meta(lambda: build(dim=96, z_dim=16, temperal_downsample=[False, True, True])), weights)
    scale = [torch.zeros(16), torch.ones(16)]
    return lambda pixels: vae.encode(pixels, scale), lambda latents: vae.decode(latents, scale)


def official_easyanimate(weights: Weights, folder: Path) -> Coders:
    """autoencoder_magvit.py of a checkout of aigc-apps/EasyAnimate, set as the V5.1 VAE's config.json and
    config/easyanimate_video_v5.1_magvit_qwen.yaml say."""
    package("official_easyanimate", folder / "easyanimate")
    package("official_easyanimate.models", folder / "easyanimate" / "models")
    build = importlib.import_module("official_easyanimate.models.autoencoder_magvit").AutoencoderKLMagvit
    kinds = {f"{side}_block_types": (f"Spatial{side.title()}Block3D",) + (f"SpatialTemporal{side.title()}Block3D",) * 3
             for side in ("down", "up")}  # fmt: skip
    vae = on_meta(lambda: build(
        **kinds, latent_channels=16, mid_block_use_attention=False, mid_block_attention_type="spatial",
        slice_mag_vae=False, cache_mag_vae=True, mini_batch_encoder=4, mini_batch_decoder=1, spatial_group_norm=True,
    ))  # fmt: skip
    return diffusers_coders(filled(vae, weights))


FAMILIES = {
    "wan": Family(
        lambda: WanVAE(WanVAEConfig()),
        {"ours": ours(lambda: WanVAE(WanVAEConfig())), "diffusers": diffusers_wan, "ComfyUI core": core_wan,
         "official": official_wan},
        {"ComfyUI core": "comfyui", "official": "official"},
    ),
    # The release decodes with diffusers' class; ComfyUI's core has neither this VAE nor EasyAnimate's.
    "cogvideox": Family(
        lambda: CogVideoXVAE(CogVideoXVAEConfig()),
        {"ours": ours(lambda: CogVideoXVAE(CogVideoXVAEConfig())), "diffusers": diffusers_cogvideox},
    ),
    "easyanimate": Family(
        lambda: EasyAnimateVAE(EasyAnimateVAEConfig()),
        {"ours": ours(lambda: EasyAnimateVAE(EasyAnimateVAEConfig())), "diffusers": diffusers_easyanimate,
         "official": official_easyanimate},
        {"official": "official"},
    ),
}  # fmt: skip
