"""The same transformer, with the same weights, as this pack, diffusers, ComfyUI's core and the official code build it.

Each function gives a callable that makes one prediction; weights are shared, so that a model lies in memory once.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from comfyui_trajectory.models.cogvideox.config import CogVideoXConfig
from comfyui_trajectory.models.cogvideox.positions import rotary_positions
from comfyui_trajectory.models.cogvideox.transformer import CogVideoXTransformer
from comfyui_trajectory.models.common.checkpoint import rename
from comfyui_trajectory.models.common.onednn import use_onednn
from comfyui_trajectory.models.easyanimate.config import EasyAnimateConfig
from comfyui_trajectory.models.easyanimate.detect import DIFFUSERS as EASYANIMATE_KEYS
from comfyui_trajectory.models.easyanimate.transformer import EasyAnimateTransformer
from comfyui_trajectory.models.wan.config import WanConfig
from comfyui_trajectory.models.wan.layouts import DIFFUSERS as WAN_KEYS
from comfyui_trajectory.models.wan.transformer import WanTransformer
from torch import Tensor, nn

Predict = Callable[[], Tensor]


@dataclass
class Case:
    """ours: the module; inputs: what it is given; peers: name -> prediction of [1, channels, frames, h, w]."""

    ours: nn.Module
    inputs: dict[str, Tensor]
    peers: dict[str, Predict]


def randomised(module: nn.Module) -> nn.Module:
    """Weights of the size that trained ones have, so that no number overflows or vanishes."""
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=parameter[0].numel() ** -0.5)
        else:
            parameter.normal_(std=0.1).add_(1.0)
    module.eval().requires_grad_(False)
    weight = next(module.parameters())
    if weight.dtype == torch.float32 and weight.device.type == "cpu":
        use_onednn(module)  # as loading does
    return module


def under_other_names(ours: nn.Module, theirs: nn.Module, key_map, **fixed) -> nn.Module:
    """`theirs`, built on the meta device, with the very tensors of `ours`."""
    own, found = ours.state_dict(), {}
    for key in theirs.state_dict():
        for ending in (".weight", ".bias", ""):
            if key.endswith(ending):
                base = key.removesuffix(ending)
                name = next((n for n in (base + ending, rename(base, key_map) + ending, rename(key, key_map))
                             if n in own), None)  # fmt: skip
                break
        found[key] = own[name] if name else fixed[key]
    theirs.load_state_dict(found, assign=True)
    return theirs.eval().requires_grad_(False)


def wan(
    dim: int, layers: int, frames: int, height: int, width: int, comfyui: Path | None, official: Path | None
) -> Case:  # fmt: skip
    sizes = {"dim": dim, "ffn_dim": {1536: 8960, 5120: 13824}.get(dim, dim * 5), "num_heads": dim // 128,
             "num_layers": layers}  # fmt: skip
    config = WanConfig("i2v", **sizes)
    ours = randomised(WanTransformer(config))
    x, y = torch.randn(1, 16, frames, height, width), torch.randn(1, 20, frames, height, width)
    t, text, image = torch.tensor([500.0]), torch.randn(1, 512, 4096), torch.randn(1, 257, 1280)
    kept: dict = {}
    ours(x[:, :, :1], t, text, y[:, :, :1], image, kept=kept)  # as after the first step: what is of the prompt is there
    peers: dict[str, Predict] = {"ours": lambda: ours(x, t, text, y, image, kept=kept)}

    from diffusers import WanTransformer3DModel

    with torch.device("meta"):
        theirs = WanTransformer3DModel(
            num_attention_heads=config.num_heads, attention_head_dim=128, in_channels=36, out_channels=16,
            ffn_dim=config.ffn_dim, num_layers=layers, image_dim=1280, added_kv_proj_dim=dim,
        )  # fmt: skip
    with torch.device("cpu"):
        theirs.rope = type(theirs.rope)(128, theirs.config.patch_size, theirs.config.rope_max_seq_len)
    # Official keys of norms differ from the ones that both call norm2.
    theirs = under_other_names(ours, theirs, WAN_KEYS)
    both = torch.cat([x, y], 1)
    peers["diffusers"] = lambda: theirs(both, t, text, image, return_dict=False)[0]
    if comfyui:
        core = comfy_wan(comfyui, sizes)
        core.load_state_dict(ours.state_dict(), assign=True)
        core.eval().requires_grad_(False)
        peers["ComfyUI core"] = lambda: core(both, t, text, clip_fea=image)
    if official:
        release = official_wan(official, sizes)
        release.load_state_dict(ours.state_dict(), assign=True)
        release.eval().requires_grad_(False)
        tokens = frames * height * width // 4
        peers["official"] = lambda: release([x[0]], t, [text[0]], tokens, image, [y[0]])[0][None]
    return Case(ours, {"x": x}, peers)


def comfy_wan(folder: Path, sizes: dict) -> nn.Module:
    sys.path.insert(0, str(folder))
    cli = importlib.import_module("comfy.cli_args")
    cli.args.cpu = not torch.cuda.is_available()
    ops = importlib.import_module("comfy.ops")
    model = importlib.import_module("comfy.ldm.wan.model").WanModel
    return model("i2v", in_dim=36, **sizes, device="meta", dtype=torch.float32, operations=ops.disable_weight_init)


def official_wan(folder: Path, sizes: dict) -> nn.Module:
    """wan/modules/model.py of a checkout of Wan-Video/Wan2.1 or bytedance/ATI, with torch's attention in the place of
    flash-attn, which runs on GPUs only."""
    package = types.ModuleType("official_wan")
    package.__path__ = [str(folder / "wan" / "modules")]
    sys.modules["official_wan"] = package
    module = importlib.import_module("official_wan.model")

    def attention(q, k, v, **_):
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)

    if not torch.cuda.is_available():
        module.flash_attention = attention
    with torch.device("meta"):
        model = module.WanModel("i2v", in_dim=36, **sizes)
    d = sizes["dim"] // sizes["num_heads"]  # a table that is no parameter: wan/modules/model.py:WanModel.__init__
    parts = (d - 4 * (d // 6), 2 * (d // 6), 2 * (d // 6))
    model.freqs = torch.cat([module.rope_params(1024, part) for part in parts], dim=1)
    return model


def cogvideox(dim: int, layers: int, frames: int, height: int, width: int, *_) -> Case:
    sizes = {"num_attention_heads": dim // 64, "num_layers": layers, "sample_width": width, "sample_height": height,
             "sample_frames": frames * 4 - 3}  # fmt: skip
    config = CogVideoXConfig(**sizes)
    ours = randomised(CogVideoXTransformer(config))
    from diffusers import CogVideoXTransformer3DModel

    with torch.device("meta"):
        theirs = CogVideoXTransformer3DModel(**sizes, use_rotary_positional_embeddings=True, text_embed_dim=4096)
    theirs = under_other_names(ours, theirs, ())
    x, t, text = torch.randn(1, 16, frames, height, width), torch.tensor([500]), torch.randn(1, 226, 4096)
    cos, sin = rotary_positions(config, (frames, height // 2, width // 2), x.device)
    sin = torch.where(torch.arange(sin.shape[1]) % 2 == 0, -sin, sin)
    turned = x.transpose(1, 2).contiguous()
    return Case(ours, {"x": x}, {
        "ours": lambda: ours(x, t, text),
        "diffusers": lambda: theirs(turned, text, t, image_rotary_emb=(cos, sin), return_dict=False)[0].transpose(1, 2),
    })  # fmt: skip


def easyanimate(dim: int, layers: int, frames: int, height: int, width: int, *_) -> Case:
    sizes = {"num_attention_heads": dim // 64, "num_layers": layers, "mmdit_layers": layers}
    ours = randomised(EasyAnimateTransformer(EasyAnimateConfig(**sizes)))
    from diffusers import EasyAnimateTransformer3DModel

    with torch.device("meta"):
        theirs = EasyAnimateTransformer3DModel(**sizes, in_channels=16, out_channels=16, patch_size=2,
                                               add_norm_text_encoder=True)  # fmt: skip
    theirs = under_other_names(ours, theirs, EASYANIMATE_KEYS)
    x, t, text = torch.randn(1, 16, frames, height, width), torch.tensor([500.0]), torch.randn(1, 256, 3584)
    return Case(ours, {"x": x}, {
        "ours": lambda: ours(x, t, text),
        "diffusers": lambda: theirs(x, t, encoder_hidden_states=text, return_dict=False)[0],
    })  # fmt: skip


FAMILIES = {"wan": wan, "cogvideox": cogvideox, "easyanimate": easyanimate}
