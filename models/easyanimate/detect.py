"""Recognises EasyAnimate V5.1 files by their keys and reads their sizes from shapes: transformer, VAE, Qwen2-VL.
Touches no tensor."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..common.description import Description, Shapes, count_blocks, with_stated
from .config import EasyAnimateConfig, EasyAnimateVAEConfig
from .text import STEM

FAMILY = "easyanimate"
USE = "Use a transformer of EasyAnimate V5.1."
# Channels beside the noisy ones -> variant: masked video and mask; control and reference; camera and reference.
VARIANTS = {0: "t2v", 17: "inp", 32: "control", 22: "camera"}
USUAL_TOKENS = 13 * 24 * 42  # of 672 x 384 x 49
USUAL_PIXELS = 4 * 384 * 672
# diffusers' names of what the text has for itself in a block -> the release's.
DIFFUSERS = (
    (r"(transformer_blocks\.\d+)\.attn1\.add_([qkv])_proj\.(\w+)", r"\1.attn2.to_\2.\3"),
    (r"(transformer_blocks\.\d+)\.attn1\.to_add_out\.(\w+)", r"\1.attn2.to_out.0.\2"),
    (r"(transformer_blocks\.\d+)\.attn1\.norm_added_([qk])\.(\w+)", r"\1.attn2.norm_\2.\3"),
)


def detect(kind: str, shapes: Shapes, stated: Mapping) -> Description | None:
    """The description of a file's part (keys without prefix) as one `kind`, or None. KeyError names a missing key."""
    return DETECTORS[kind](shapes, stated)


def diffusion_model(shapes: Shapes, stated: Mapping) -> Description | None:
    if "transformer_blocks.0.norm1.linear.weight" not in shapes or "norm_out.linear.weight" not in shapes:
        return None
    if not any(key.startswith("text_proj") for key in shapes) or "proj.weight" not in shapes:
        return None
    if "text_proj.1.weight" not in shapes or any(key.startswith("text_proj_t5") for key in shapes):
        return _cannot("diffusion model", "v5", f"this is EasyAnimate V5, which reads other text encoders. {USE}")
    config = transformer_config(shapes, stated)
    extra = config.in_channels - config.out_channels
    if extra not in VARIANTS:
        known = ", ".join(f"{config.out_channels + more} ({name})" for more, name in VARIANTS.items())
        return _cannot(
            "diffusion model", f"in_channels {config.in_channels}",
            f"this EasyAnimate model takes {config.in_channels} channels; known are {known}. {USE}",
        )  # fmt: skip
    return Description("diffusion model", FAMILY, VARIANTS[extra], config, USUAL_TOKENS * 12 * config.dim * 2)


def transformer_config(shapes: Shapes, stated: Mapping) -> EasyAnimateConfig:
    """Sizes from shapes; a block is an MMDiT block where the text has a feed-forward of its own."""
    dim, in_channels, patch, _ = shapes["proj.weight"]
    head_dim = shapes["transformer_blocks.0.attn1.norm_q.weight"][0]
    measured = {
        "in_channels": in_channels, "patch_size": patch, "attention_head_dim": head_dim,
        "num_attention_heads": dim // head_dim,
        "out_channels": shapes["proj_out.weight"][0] // patch**2,
        "num_layers": count_blocks(shapes, r"transformer_blocks\.(\d+)\."),
        "mmdit_layers": count_blocks(shapes, r"transformer_blocks\.(\d+)\.txt_ff\."),
        "text_embed_dim": shapes["text_proj.1.weight"][1],
        "time_embed_dim": shapes["time_embedding.linear_1.weight"][0],
    }  # fmt: skip
    if isinstance(stated.get("mmdit_layers"), int):  # some config.json say more than there are
        stated = {**stated, "mmdit_layers": min(stated["mmdit_layers"], measured["num_layers"])}
    return with_stated(EasyAnimateConfig, measured, {}, stated)


def vae(shapes: Shapes, stated: Mapping) -> Description | None:
    if "encoder.down_blocks.0.convs.0.conv1.weight" not in shapes or "quant_conv.weight" not in shapes:
        return None
    if any(".attentions." in key for key in shapes):
        return _cannot("vae", "v5 or older", "this is the VAE of an older EasyAnimate. Use the VAE of V5.1.")
    config = vae_config(shapes, stated)
    return Description("vae", FAMILY, "magvit", config, USUAL_PIXELS * config.block_out_channels[0] * 2 * 4)


def vae_config(shapes: Shapes, stated: Mapping) -> EasyAnimateVAEConfig:
    """Sizes from shapes. The number of norm groups is not in them: 32 as in the release, unless stated."""
    levels = count_blocks(shapes, r"encoder\.down_blocks\.(\d+)\.")
    channels = tuple(shapes[f"encoder.down_blocks.{i}.convs.0.conv1.weight"][0] for i in range(levels))
    measured = {
        "block_out_channels": channels,
        "latent_channels": shapes["post_quant_conv.weight"][0],
        "layers_per_block": count_blocks(shapes, r"encoder\.down_blocks\.0\.convs\.(\d+)\."),
    }
    groups = 32 if all(count % 32 == 0 for count in channels) else None
    return with_stated(EasyAnimateVAEConfig, measured, {"norm_num_groups": groups}, stated)


def text_encoder(shapes: Shapes, stated: Mapping) -> Description | None:
    """The text half of Qwen2-VL. Heads are not in the shapes: of 128 as in Qwen2-VL-7B, unless stated."""
    found = {match[1]: shape for key, shape in shapes.items() if (match := re.fullmatch(STEM + r"(.*)", key))}
    if "layers.0.self_attn.q_proj.bias" not in found or "layers.0.mlp.gate_proj.weight" not in found:
        return None
    if any(re.fullmatch(r"(?:model\.)?visual\.blocks\.0\.mlp\.gate_proj\.weight", key) for key in shapes):
        return _cannot(
            "text encoder", "qwen2.5-vl",
            "this is Qwen2.5-VL, whose text EasyAnimate cannot read. Use Qwen2-VL-7B-Instruct, or the text_encoder of "
            "an EasyAnimate V5.1 release.",
        )  # fmt: skip
    vocabulary, width = found["embed_tokens.weight"]
    queries, keys = found["layers.0.self_attn.q_proj.weight"][0], found["layers.0.self_attn.k_proj.weight"][0]
    heads = stated.get("num_attention_heads") or (queries // 128 if queries % 128 == 0 and keys % 128 == 0 else None)
    if heads is None:
        return _cannot(
            "text encoder", "qwen2", f"its tensors do not tell the number of heads (width {width}): the header needs a "
            '"config" entry with num_attention_heads.',
        )  # fmt: skip
    config = {
        "vocab_size": vocabulary, "hidden_size": width,
        "intermediate_size": found["layers.0.mlp.gate_proj.weight"][0],
        "num_hidden_layers": count_blocks(found, r"layers\.(\d+)\."),
        "num_attention_heads": heads, "num_key_value_heads": keys // (queries // heads),
    }  # fmt: skip
    return Description("text encoder", FAMILY, "qwen2-vl", config, 256 * config["intermediate_size"] * 8)


def image_encoder(shapes: Shapes, stated: Mapping) -> None:
    """EasyAnimate V5.1 has none."""


def _cannot(kind: str, variant: str, problem: str) -> Description:
    return Description(kind, FAMILY, variant, {}, problem=problem)


DETECTORS = {"diffusion model": diffusion_model, "vae": vae, "text encoder": text_encoder,
             "image encoder": image_encoder}  # fmt: skip
