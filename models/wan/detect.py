"""Recognises Wan 2.1 files by their keys and reads their sizes from shapes: transformer, VAE, umT5, CLIP vision.
Touches no tensor. Rules: ComfyUI comfy/model_detection.py:detect_unet_config, where nothing else is said."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..common.description import Description, Shapes, count_blocks, with_stated
from .config import WanConfig, WanVAEConfig

FAMILY = "wan"
USE = "Use Wan2.1 I2V 14B, ATI 14B, or Wan2.1 T2V."
# Transformers with Wan 2.1's blocks that need more than Wan 2.1's inputs: (key, variant, what it is).
OTHER_VARIANTS = (
    ("vace_patch_embedding.weight", "vace", "Wan VACE"),
    ("img_emb.emb_pos", "flf2v", "the first-and-last-frame model of Wan 2.1"),
    ("control_adapter.conv.weight", "camera", "a Wan Fun camera control model"),
    ("ref_conv.weight", "fun control", "a Wan Fun control model"),
    ("casual_audio_encoder.weights", "s2v", "Wan 2.2 S2V"),
    ("audio_proj.audio_proj_glob_1.layer.weight", "humo", "HuMo"),
    ("motion_encoder.enc.fc.0.weight", "animate", "Wan 2.2 Animate"),
    ("face_adapter.fuser_blocks.0.k_norm.weight", "animate", "Wan 2.2 Animate"),
)
# Tokens of the usual clip, 832 x 480 x 81, after patching; and its pixels a group of four frames.
USUAL_TOKENS = 21 * 30 * 52
USUAL_PIXELS = 4 * 480 * 832


def detect(kind: str, shapes: Shapes, stated: Mapping) -> Description | None:
    """The description of a file's part (keys without prefix) as one `kind`, or None. KeyError names a missing key."""
    return DETECTORS[kind](shapes, stated)


def diffusion_model(shapes: Shapes, stated: Mapping) -> Description | None:
    if "condition_embedder.time_embedder.linear_1.weight" in shapes and "scale_shift_table" in shapes:
        return _cannot(
            "diffusion model",
            "diffusers",
            "this is a Wan transformer in diffusers' naming, which is not "
            "read. Use the original release (*-00001-of-*.safetensors) or ComfyUI's repackaged single file.",
        )
    if "head.modulation" not in shapes or "patch_embedding.weight" not in shapes:
        return None
    for key, variant, name in OTHER_VARIANTS:
        if key in shapes:
            return _cannot(
                "diffusion model", variant, f"this is {name}, which takes inputs that trajectories do not give. {USE}"
            )
    config = transformer_config(shapes, stated)
    if config.out_dim == 48:
        return _cannot(
            "diffusion model", "wan2.2 5b", f"this is Wan 2.2 TI2V 5B, made for another VAE (48 channels). {USE}"
        )
    if config.model_type == "t2v" and config.in_dim == 2 * config.out_dim + 4:
        return _cannot(
            "diffusion model",
            "wan2.2 i2v",
            f"this is one of the two experts of Wan 2.2 I2V 14B (no image attention); they are not supported. {USE}",
        )
    expected = config.out_dim if config.model_type == "t2v" else 2 * config.out_dim + 4
    if config.in_dim != expected:
        return _cannot(
            "diffusion model",
            f"in_dim {config.in_dim}",
            f"this Wan model takes {config.in_dim} channels; "
            f"{config.model_type} models take {expected}. It is a variant that is not supported. {USE}",
        )
    working = USUAL_TOKENS * (config.ffn_dim + 8 * config.dim) * 2
    return Description("diffusion model", FAMILY, config.model_type, config, working)


def transformer_config(shapes: Shapes, stated: Mapping) -> WanConfig:
    """Sizes from shapes. The number of heads is not in them: dim / 128 as in every release, unless stated."""
    dim, in_dim, *patch = shapes["patch_embedding.weight"]
    measured = {
        "model_type": "i2v" if "img_emb.proj.0.bias" in shapes else "t2v",
        "dim": dim, "in_dim": in_dim, "patch_size": tuple(patch),
        "ffn_dim": shapes["blocks.0.ffn.0.weight"][0],
        "num_layers": count_blocks(shapes, r"blocks\.(\d+)\."),
        "text_dim": shapes["text_embedding.0.weight"][1],
        "freq_dim": shapes["time_embedding.0.weight"][1],
        "out_dim": shapes["head.head.weight"][0] // math.prod(patch),
    }  # fmt: skip
    if measured["model_type"] == "i2v":
        measured["clip_dim"] = shapes["img_emb.proj.0.bias"][0]
    return with_stated(WanConfig, measured, {"num_heads": dim // 128 if dim % 128 == 0 else None}, stated)


def vae(shapes: Shapes, stated: Mapping) -> Description | None:
    if any(key.startswith(("decoder.upsamples.0.upsamples.", "encoder.downsamples.0.downsamples.")) for key in shapes):
        return _cannot(
            "vae",
            "wan2.2",
            "this is the VAE of Wan 2.2 5B (48 channels). Use wan_2.1_vae.safetensors or Wan2.1_VAE.pth.",
        )
    if any(key.startswith("encoder.down_blocks.") and key.endswith("norm1.gamma") for key in shapes):
        return _cannot(
            "vae",
            "diffusers",
            "this is a Wan VAE in diffusers' naming, which is not read. Use wan_2.1_vae.safetensors or Wan2.1_VAE.pth.",
        )
    if "decoder.middle.0.residual.0.gamma" not in shapes:
        return None
    config = vae_config(shapes, stated)
    return Description("vae", FAMILY, "wan2.1", config, USUAL_PIXELS * config.dim * 2 * 4)


def vae_config(shapes: Shapes, stated: Mapping) -> WanVAEConfig:
    """Sizes from the encoder: a level is `num_res_blocks` residual blocks and, but for the last, a downsampling."""
    dim = shapes["encoder.conv1.weight"][0]
    widths, blocks, in_time = [], [], []
    width, count = dim, 0
    for index in range(count_blocks(shapes, r"encoder\.downsamples\.(\d+)\.")):
        name = f"encoder.downsamples.{index}"
        if f"{name}.resample.1.weight" in shapes:
            widths.append(width)
            blocks.append(count)
            in_time.append(f"{name}.time_conv.weight" in shapes)
            count = 0
        else:
            width, count = shapes[f"{name}.residual.2.weight"][0], count + 1
    measured = {
        "dim": dim,
        "z_dim": shapes["conv2.weight"][0],
        "dim_mult": tuple(value // dim for value in [*widths, width]),
        "num_res_blocks": max([*blocks, count]),
        "temperal_downsample": tuple(in_time),
    }
    return with_stated(WanVAEConfig, measured, {}, stated)


def text_encoder(shapes: Shapes, stated: Mapping) -> Description | None:
    official = "token_embedding.weight" in shapes and "blocks.0.pos_embedding.embedding.weight" in shapes
    if not official and "encoder.block.0.layer.0.SelfAttention.q.weight" not in shapes:
        return None
    layers = count_blocks(shapes, r"blocks\.(\d+)\." if official else r"encoder\.block\.(\d+)\.")
    bias = (
        "blocks.{}.pos_embedding.embedding.weight"
        if official
        else ("encoder.block.{}.layer.0.SelfAttention.relative_attention_bias.weight")
    )
    if bias.format(layers - 1) not in shapes:
        return None  # T5 v1.1 has a position bias in its first block only
    query = shapes["blocks.0.attn.q.weight" if official else "encoder.block.0.layer.0.SelfAttention.q.weight"]
    feed = shapes["blocks.0.ffn.gate.0.weight" if official else "encoder.block.0.layer.1.DenseReluDense.wi_0.weight"]
    buckets, heads = shapes[bias.format(0)]
    vocabulary, width = shapes["token_embedding.weight" if official else "shared.weight"]
    config = {
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": query[0] // heads,
        "d_ff": feed[0],
        "num_layers": layers,
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
    }
    return Description("text encoder", FAMILY, "umt5", config, 512 * feed[0] * 8)


def image_encoder(shapes: Shapes, stated: Mapping) -> Description | None:
    official = "visual.patch_embedding.weight" in shapes
    if not official and "vision_model.embeddings.class_embedding" not in shapes:
        return None
    prefix = "visual.transformer." if official else "vision_model.encoder.layers."
    patches = shapes["visual.patch_embedding.weight" if official else "vision_model.embeddings.patch_embedding.weight"]
    positions = shapes["visual.pos_embedding" if official else "vision_model.embeddings.position_embedding.weight"][-2]
    side = math.isqrt(positions - 1)
    feed = shapes[prefix + ("0.mlp.0.weight" if official else "0.mlp.fc1.weight")]
    width, patch = patches[0], patches[-1]
    heads = stated.get("num_attention_heads") or stated.get("vision_heads")
    config = {
        "hidden_size": width,
        "intermediate_size": feed[0],
        "patch_size": patch,
        "image_size": side * patch,
        "num_hidden_layers": count_blocks(shapes, prefix.replace(".", r"\.") + r"(\d+)\."),
        "num_attention_heads": heads or _clip_heads(width),
        "hidden_act": stated.get("hidden_act") or stated.get("activation") or "gelu",
    }
    if config["num_attention_heads"] is None:
        return _cannot(
            "image encoder",
            "clip",
            f"its tensors do not tell the number of heads (width {width}): the "
            'header needs a "config" entry with num_attention_heads.',
            config,
        )
    return Description("image encoder", FAMILY, "clip", config, positions * feed[0] * 16)


def _clip_heads(width: int) -> int | None:
    """ViT-H/14 has 16 heads of 80, every smaller CLIP has heads of 64."""
    return 16 if width == 1280 else width // 64 if width % 64 == 0 else None


def _cannot(kind: str, variant: str, problem: str, config: object = None) -> Description:
    return Description(kind, FAMILY, variant, config or {}, problem=problem)


DETECTORS = {"diffusion model": diffusion_model, "vae": vae, "text encoder": text_encoder,
             "image encoder": image_encoder}  # fmt: skip
