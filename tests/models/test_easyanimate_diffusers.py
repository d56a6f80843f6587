"""diffusers' EasyAnimate classes are an independent implementation: with the same random weights both give the same
numbers, once two deviations of diffusers from the release are undone (see `as_released`)."""

from __future__ import annotations

import pytest
import torch
from comfyui_trajectory.models.common.checkpoint import Checkpoint, assign
from comfyui_trajectory.models.easyanimate.config import EasyAnimateConfig, EasyAnimateVAEConfig
from comfyui_trajectory.models.easyanimate.detect import DIFFUSERS
from comfyui_trajectory.models.easyanimate.transformer import EasyAnimateTransformer, rotary_table
from comfyui_trajectory.models.easyanimate.vae import EasyAnimateVAE

from .test_diffusers import diffusers, randomised

CONFIG = {"num_layers": 3, "mmdit_layers": 1, "num_attention_heads": 2, "attention_head_dim": 16, "text_embed_dim": 20,
          "time_embed_dim": 24}  # fmt: skip


def pair(variant_channels: int, **changes):
    config = {**CONFIG, "in_channels": variant_channels, **changes}
    theirs = randomised(
        diffusers.EasyAnimateTransformer3DModel(**config, out_channels=16, patch_size=2, add_norm_text_encoder=True)
    )
    ours = EasyAnimateTransformer(EasyAnimateConfig(**config)).eval()
    assign(ours, Checkpoint.from_tensors(theirs.state_dict()), key_map=DIFFUSERS)
    return ours, theirs


def as_released(theirs) -> None:
    """Undoes what diffusers does otherwise than aigc-apps/EasyAnimate, whose weights were trained with the latter.

    1. Since 0.32, rotary positions of a grid whose crop does not start at 0 (any shape but 3:2) are spread to the
    crop's end times (n - 1) / n instead of from its start by equal steps.
    2. Blocks that share weights between text and video leave out the output projection of the text.
    """
    theirs.rope_embedding.forward = release_rotation(theirs.config.attention_head_dim)
    for block in theirs.transformer_blocks:
        if block.attn1.to_add_out is None:
            block.attn1.to_add_out = block.attn1.to_out[0]


def release_rotation(head_dim: int):
    def rotation(hidden_states):
        frames, height, width = hidden_states.shape[2:]
        cos, sin = rotary_table((frames, height // 2, width // 2), head_dim, hidden_states.device)
        return cos, torch.stack([-sin[:, ::2], sin[:, 1::2]], dim=-1).flatten(1)

    return rotation


def runs(ours, theirs, height: int, width: int, extra: int = 0):
    torch.manual_seed(1)
    x, t, text = torch.randn(2, 16, 3, height, width), torch.tensor([31.4, 886.25]), torch.randn(2, 9, 20)
    y = torch.randn(2, extra, 3, height, width) if extra else None
    expected = theirs(x, t, encoder_hidden_states=text, control_latents=y, return_dict=False)[0]
    assert expected.std() > 0.1
    return ours(x, t, text, y), expected


@pytest.mark.parametrize("size", [(6, 14), (10, 6), (8, 12)])
@pytest.mark.parametrize("extra", [0, 17, 22, 32])
def test_the_transformer_gives_what_diffusers_gives_once_made_as_released(size, extra):
    ours, theirs = pair(16 + extra)
    as_released(theirs)
    torch.testing.assert_close(*runs(ours, theirs, *size, extra), rtol=1e-4, atol=1e-4)


def test_the_transformer_gives_what_diffusers_gives_as_it_is_where_it_does_not_deviate():
    ours, theirs = pair(16, mmdit_layers=3)
    torch.testing.assert_close(*runs(ours, theirs, 8, 12), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size, mmdit_layers", [((6, 14), 3), ((8, 12), 1)])
def test_each_of_the_two_deviations_is_there(size, mmdit_layers):
    """Where this fails, diffusers has been put right: `as_released` is then not needed any more."""
    actual, expected = runs(*pair(16, mmdit_layers=mmdit_layers), *size)
    assert (actual - expected).abs().max() > 1e-3


def test_the_vae_gives_what_diffusers_gives():
    channels = (4, 8, 12, 12)
    theirs = randomised(diffusers.AutoencoderKLMagvit(
        block_out_channels=channels, norm_num_groups=2, spatial_group_norm=True,
        down_block_types=["SpatialDownBlock3D"] + ["SpatialTemporalDownBlock3D"] * 3,
        up_block_types=["SpatialUpBlock3D"] + ["SpatialTemporalUpBlock3D"] * 3,
    ))  # fmt: skip
    ours = EasyAnimateVAE(EasyAnimateVAEConfig(block_out_channels=channels, norm_num_groups=2)).eval()
    ours.load_state_dict(theirs.state_dict())
    video = torch.rand(1, 3, 9, 32, 48) * 2 - 1
    latents = ours.encode(video)
    torch.testing.assert_close(latents, theirs.encode(video).latent_dist.mode(), rtol=1e-4, atol=1e-4)
    decoded = ours.decode(latents)
    assert decoded.std() > 0.01
    torch.testing.assert_close(decoded, theirs.decode(latents).sample, rtol=1e-4, atol=1e-4)
