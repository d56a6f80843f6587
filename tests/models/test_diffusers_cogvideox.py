"""diffusers' CogVideoX classes are an independent implementation: with the same random weights both give the same
numbers."""

from __future__ import annotations

import pytest
import torch
from comfyui_trajectory.models.cogvideox.config import CogVideoXConfig, CogVideoXVAEConfig
from comfyui_trajectory.models.cogvideox.positions import rotary_positions
from comfyui_trajectory.models.cogvideox.transformer import CogVideoXTransformer
from comfyui_trajectory.models.cogvideox.vae import CogVideoXVAE

from .test_diffusers import randomised

diffusers = pytest.importorskip("diffusers", reason="diffusers, a test requirement, is not installed")


@pytest.mark.parametrize("variant", ["t2v", "i2v", "1.5 t2v", "1.5 i2v"])
def test_the_transformer_gives_what_diffusers_gives(variant):
    newer, i2v = variant.startswith("1.5"), variant.endswith("i2v")
    learned = i2v and not newer
    sizes = {
        "num_attention_heads": 3, "attention_head_dim": 16, "in_channels": 32 if i2v else 16, "time_embed_dim": 24,
        "text_embed_dim": 20, "num_layers": 2, "sample_width": 12, "sample_height": 8, "sample_frames": 9,
        "max_text_seq_length": 7, "use_learned_positional_embeddings": learned,
    }  # fmt: skip
    theirs = randomised(diffusers.CogVideoXTransformer3DModel(
        **sizes, use_rotary_positional_embeddings=True, patch_size_t=2 if newer else None,
        ofs_embed_dim=24 if newer and i2v else None,
    ))  # fmt: skip
    extra = {"patch_size_t": 2, "ofs_embed_dim": 24 if i2v else 0} if newer else {}
    ours = CogVideoXTransformer(CogVideoXConfig(**sizes, **extra)).eval()
    ours.load_state_dict(theirs.state_dict())
    frames = 4 if newer else 3
    x, image = torch.randn(2, 16, frames, 8, 12), torch.randn(2, 16, frames, 8, 12)
    t, words = torch.tensor([37, 900]), torch.randn(2, 7, 20)
    cos, sin = rotary_positions(ours.config, (frames // ours.config.patch_size_t, 4, 6), x.device)
    sin = torch.where(torch.arange(sin.shape[1]) % 2 == 0, -sin, sin)
    given = torch.cat([x, image], 1) if i2v else x
    offset = torch.full((2,), 2.0) if newer and i2v else None
    expected = theirs(given.transpose(1, 2), words, t, ofs=offset, image_rotary_emb=(cos, sin), return_dict=False)[0]
    assert expected.std() > 0.1
    actual = ours(x, t, words, image if i2v else None).transpose(1, 2)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("frames", [1, 9, 17])
def test_the_vae_gives_what_diffusers_gives(frames):
    sizes = {"block_out_channels": (8, 8, 16, 16), "layers_per_block": 1, "norm_num_groups": 4}
    kinds = {side: tuple([f"CogVideoX{side}Block3D"] * 4) for side in ("Down", "Up")}
    theirs = randomised(
        diffusers.AutoencoderKLCogVideoX(**sizes, down_block_types=kinds["Down"], up_block_types=kinds["Up"])
    )
    ours = CogVideoXVAE(CogVideoXVAEConfig(**sizes)).eval()
    ours.load_state_dict(theirs.state_dict())
    video = torch.rand(1, 3, frames, 32, 48) * 2 - 1
    moments = ours.moments(video)
    torch.testing.assert_close(moments, theirs.encode(video).latent_dist.parameters, rtol=1e-4, atol=1e-4)
    latents = moments.chunk(2, 1)[0]
    decoded = ours.decode(latents)
    assert decoded.shape == video.shape and decoded.std() > 0.01
    torch.testing.assert_close(decoded, theirs.decode(latents).sample, rtol=1e-4, atol=1e-4)
