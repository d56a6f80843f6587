"""diffusers' Wan classes are an independent implementation: with the same random weights both give the same numbers."""

from __future__ import annotations

import re

import pytest
import torch
from comfyui_trajectory.models.wan.config import WanConfig, WanVAEConfig
from comfyui_trajectory.models.wan.transformer import WanTransformer
from comfyui_trajectory.models.wan.vae import WanVAE

diffusers = pytest.importorskip("diffusers", reason="diffusers, a test requirement, is not installed")

# diffusers' names -> the release's.
TRANSFORMER = (
    (r"condition_embedder\.time_embedder\.linear_1", "time_embedding.0"),
    (r"condition_embedder\.time_embedder\.linear_2", "time_embedding.2"),
    (r"condition_embedder\.time_proj", "time_projection.1"),
    (r"condition_embedder\.text_embedder\.linear_1", "text_embedding.0"),
    (r"condition_embedder\.text_embedder\.linear_2", "text_embedding.2"),
    (r"condition_embedder\.image_embedder\.norm1", "img_emb.proj.0"),
    (r"condition_embedder\.image_embedder\.ff\.net\.0\.proj", "img_emb.proj.1"),
    (r"condition_embedder\.image_embedder\.ff\.net\.2", "img_emb.proj.3"),
    (r"condition_embedder\.image_embedder\.norm2", "img_emb.proj.4"),
    (r"^scale_shift_table", "head.modulation"),
    (r"scale_shift_table", "modulation"),
    (r"^proj_out", "head.head"),
    (r"attn1\.to_out\.0", "self_attn.o"),
    (r"attn2\.to_out\.0", "cross_attn.o"),
    (r"attn2\.add_([kv])_proj", r"cross_attn.\1_img"),
    (r"attn2\.norm_added_k", "cross_attn.norm_k_img"),
    (r"attn1\.to_([qkv])", r"self_attn.\1"),
    (r"attn2\.to_([qkv])", r"cross_attn.\1"),
    (r"attn1\.", "self_attn."),
    (r"attn2\.", "cross_attn."),
    (r"\.norm2\.", ".norm3."),
    (r"ffn\.net\.0\.proj", "ffn.0"),
    (r"ffn\.net\.2", "ffn.2"),
)
VAE = (
    (r"^quant_conv", "conv1"),
    (r"^post_quant_conv", "conv2"),
    (r"\.conv_in\.", ".conv1."),
    (r"\.norm_out\.", ".head.0."),
    (r"\.conv_out\.", ".head.2."),
    (r"mid_block\.resnets\.0", "middle.0"),
    (r"mid_block\.resnets\.1", "middle.2"),
    (r"mid_block\.attentions\.0", "middle.1"),
    (r"down_blocks", "downsamples"),
    (r"up_blocks\.(\d+)\.resnets\.(\d+)", lambda m: f"upsamples.{int(m[1]) * 4 + int(m[2])}"),
    (r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"upsamples.{int(m[1]) * 4 + 3}"),
    (r"(\d+)\.norm1\.", r"\1.residual.0."),
    (r"(samples\.\d+|middle\.[02])\.conv1\.", r"\1.residual.2."),
    (r"(\d+)\.norm2\.", r"\1.residual.3."),
    (r"(\d+)\.conv2\.", r"\1.residual.6."),
    (r"conv_shortcut", "shortcut"),
)


def renamed(state: dict, table) -> dict:
    out = {}
    for key, value in state.items():
        for pattern, replacement in table:
            key = re.sub(pattern, replacement, key)
        out[key] = value
    return out


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    for p in module.parameters():
        p.data = torch.randn_like(p) * (0.5 / max(1, p[0].numel()) ** 0.5 if p.ndim > 1 else 0.2) + (p.ndim <= 1) * 0.5
    return module.eval()


@pytest.mark.parametrize("variant", ["i2v", "t2v"])
def test_the_transformer_gives_what_diffusers_gives(variant):
    i2v = variant == "i2v"
    config = WanConfig(
        model_type=variant, dim=96, ffn_dim=136, num_heads=4, num_layers=2, text_dim=40, freq_dim=64,
        in_dim=36 if i2v else 16, clip_dim=48,
    )  # fmt: skip
    theirs = randomised(diffusers.WanTransformer3DModel(
        num_attention_heads=4, attention_head_dim=24, in_channels=config.in_dim, out_channels=16, text_dim=40,
        freq_dim=64,
        ffn_dim=136, num_layers=2, image_dim=48 if i2v else None, added_kv_proj_dim=96 if i2v else None,
        cross_attn_norm=True, qk_norm="rms_norm_across_heads",
    ))  # fmt: skip
    ours = WanTransformer(config).eval()
    ours.load_state_dict(renamed(theirs.state_dict(), TRANSFORMER))
    x, y = torch.randn(2, 16, 3, 8, 12), torch.randn(2, 20, 3, 8, 12)
    t, text, tokens = torch.tensor([37.0, 900.0]), torch.randn(2, 512, 40), torch.randn(2, 33, 48)
    expected = theirs(
        torch.cat([x, y], 1) if i2v else x,
        t,
        text,
        encoder_hidden_states_image=tokens if i2v else None,
        return_dict=False,
    )[0]
    actual = ours(x, t, text, y, tokens) if i2v else ours(x, t, text)
    assert expected.std() > 0.1
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_the_vae_gives_what_diffusers_gives():
    theirs = randomised(diffusers.AutoencoderKLWan(base_dim=8, z_dim=16))
    ours = WanVAE(WanVAEConfig(dim=8)).eval()
    ours.load_state_dict(renamed(theirs.state_dict(), VAE))
    video = torch.rand(1, 3, 9, 32, 48) * 2 - 1
    latents = ours.encode(video)
    torch.testing.assert_close(latents, theirs.encode(video).latent_dist.mode(), rtol=1e-4, atol=1e-4)
    decoded = ours.decode(latents).clamp(-1, 1)
    assert decoded.std() > 0.01
    torch.testing.assert_close(decoded, theirs.decode(latents).sample, rtol=1e-4, atol=1e-4)
