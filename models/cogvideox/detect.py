"""Recognises CogVideoX and Tora files by their keys and reads their sizes from shapes: transformer, VAE, T5 v1.1.
Touches no tensor."""

from __future__ import annotations

from collections.abc import Mapping

from ..common.description import Description, Shapes, count_blocks, with_stated
from .config import CogVideoXConfig, CogVideoXVAEConfig
from .layouts import shapes_by_plan
from .tora import BLOCKS

FAMILY = "cogvideox"
# Tokens of the usual clip, 720 x 480 x 49, after patching; and its pixels a group of nine frames.
USUAL_TOKENS = 13 * 30 * 45 + 226
USUAL_PIXELS = 9 * 480 * 720
DIM_OF_2B = 1920
# What the tensors alone decide: a SAT file has the table of learned positions, but its code never adds it, and Tora's
# parts may have been joined to a base whose header knows nothing of them.
BY_KEYS = ("use_learned_positional_embeddings", "traj_extractor_channels")
TORA_KEYS = ("fuser.0.flow_gamma_spatial.weight", "traj_extractor.conv_in.weight")


def detect(kind: str, shapes: Shapes, stated: Mapping) -> Description | None:
    """The description of a file's part (keys without prefix) as one `kind`, or None. KeyError names a missing key."""
    detector = DETECTORS.get(kind)
    return detector(shapes, stated) if detector else None


def diffusion_model(shapes: Shapes, stated: Mapping) -> Description | None:
    shapes = shapes_by_plan(shapes)
    if "patch_embed.proj.weight" not in shapes or "transformer_blocks.0.norm1.linear.weight" not in shapes:
        return None
    config = transformer_config(shapes, stated)
    tora = bool(config.traj_extractor_channels)
    problem = None
    if config.dim == DIM_OF_2B:
        problem = "this is CogVideoX 2B, which has other positions and latents. Use CogVideoX-5B, or Tora."
    elif config.in_channels not in (config.out_channels, 2 * config.out_channels):
        problem = (
            f"this CogVideoX model takes {config.in_channels} channels; {config.out_channels} (text-to-video) and "
            f"{2 * config.out_channels} (image-to-video) are supported. It is a variant for other tasks. Use "
            "CogVideoX-5B or Tora."
        )
    elif any(key in shapes for key in TORA_KEYS) and not all(key in shapes for key in TORA_KEYS):
        lacking = next(key for key in TORA_KEYS if key not in shapes)
        problem = f"it holds only half of Tora's trajectory parts: {lacking} is missing. Download the file again."
    elif tora:
        problem = layers_differ(shapes, config)
    working = USUAL_TOKENS * 12 * config.dim * 2
    return Description("diffusion model", FAMILY, f"{'tora ' * tora}{config.variant}", config, working, problem)


def layers_differ(shapes: Shapes, config: CogVideoXConfig) -> str | None:
    fusers = count_blocks(shapes, r"fuser\.(\d+)\.")
    extracted = count_blocks(shapes, r"traj_extractor\.body\.(\d+)\.") // BLOCKS
    if fusers == extracted == config.num_layers:
        return None
    return (
        f"Tora's parts are for another base: they have {fusers} fusers and {extracted} trajectory features, the "
        f"transformer has {config.num_layers} blocks. Use the CogVideoX-5B model that they were trained on."
    )


def transformer_config(shapes: Shapes, stated: Mapping) -> CogVideoXConfig:
    """Sizes from shapes; of positions only what version the model is, so sizes of CogVideoX 1.0 and 1.5 are the
    rule."""
    proj = shapes["patch_embed.proj.weight"]
    newer = len(proj) == 2
    head_dim = shapes["transformer_blocks.0.attn1.norm_q.weight"][0]
    patch, patch_t = (2, 2) if newer else (proj[-1], 1)
    measured = {
        "num_attention_heads": proj[0] // head_dim,
        "attention_head_dim": head_dim,
        "in_channels": proj[1] // (patch * patch * patch_t) if newer else proj[1],
        "out_channels": shapes["proj_out.weight"][0] // (patch * patch * patch_t),
        "time_embed_dim": shapes["time_embedding.linear_1.weight"][0],
        "ofs_embed_dim": shapes.get("ofs_embedding.linear_1.weight", (0,))[0],
        "text_embed_dim": shapes["patch_embed.text_proj.weight"][1],
        "num_layers": count_blocks(shapes, r"transformer_blocks\.(\d+)\."),
        "patch_size": patch,
        "patch_size_t": patch_t,
        "use_learned_positional_embeddings": "patch_embed.pos_embedding" in shapes,
        "traj_extractor_channels": shapes.get("traj_extractor.conv_in.weight", (0,))[0],
    }
    usual = {"sample_width": 300, "sample_height": 300, "sample_frames": 81} if newer else {}
    stated = {key: value for key, value in stated.items() if value is not None and key not in BY_KEYS}
    return with_stated(CogVideoXConfig, measured, usual, stated)


def vae(shapes: Shapes, stated: Mapping) -> Description | None:
    shapes = shapes_by_plan(shapes)
    if "decoder.mid_block.resnets.0.norm1.conv_y.conv.weight" not in shapes:
        return None
    config = vae_config(shapes, stated)
    return Description("vae", FAMILY, "cogvideox", config, USUAL_PIXELS * config.block_out_channels[0] * 2 * 4)


def vae_config(shapes: Shapes, stated: Mapping) -> CogVideoXVAEConfig:
    levels = count_blocks(shapes, r"encoder\.down_blocks\.(\d+)\.")
    measured = {
        "block_out_channels": tuple(
            shapes[f"encoder.down_blocks.{i}.resnets.0.conv1.conv.weight"][0] for i in range(levels)
        ),
        "latent_channels": shapes["decoder.conv_in.conv.weight"][1],
        "layers_per_block": count_blocks(shapes, r"encoder\.down_blocks\.0\.resnets\.(\d+)\."),
    }
    return with_stated(CogVideoXVAEConfig, measured, {}, stated)


def text_encoder(shapes: Shapes, stated: Mapping) -> Description | None:
    block = "encoder.block.{}.layer"
    bias = f"{block}.0.SelfAttention.relative_attention_bias.weight"
    if bias.format(0) not in shapes:
        return None
    layers = count_blocks(shapes, r"encoder\.block\.(\d+)\.")
    if layers > 1 and bias.format(1) in shapes:
        return None  # umT5 has a position bias in every block
    if f"{block.format(0)}.1.DenseReluDense.wi.weight" in shapes:
        problem = "this is the first version of T5; CogVideoX reads T5 v1.1 xxl (t5xxl_fp16.safetensors)."
        return Description("text encoder", FAMILY, "t5", {}, problem=problem)
    buckets, heads = shapes[bias.format(0)]
    vocabulary, width = shapes["shared.weight"]
    feed = shapes[f"{block.format(0)}.1.DenseReluDense.wi_0.weight"][0]
    config = {
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": shapes[f"{block.format(0)}.0.SelfAttention.q.weight"][0] // heads,
        "d_ff": feed,
        "num_layers": layers,
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
    }
    return Description("text encoder", FAMILY, "t5 v1.1", config, 226 * feed * 8)


DETECTORS = {"diffusion model": diffusion_model, "vae": vae, "text encoder": text_encoder}
