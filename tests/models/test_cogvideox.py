"""CogVideoX and Tora checkpoints: every layout in circulation is read; what cannot be read says why."""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from comfyui_trajectory.models import info, load_model, load_text_encoder, load_vae
from comfyui_trajectory.models.cogvideox import build, text, with_motion
from comfyui_trajectory.models.cogvideox.config import CogVideoXConfig, CogVideoXVAEConfig
from comfyui_trajectory.models.cogvideox.tiles import Tiling
from comfyui_trajectory.models.cogvideox.transformer import CogVideoXTransformer
from comfyui_trajectory.models.cogvideox.vae import CogVideoXVAE
from comfyui_trajectory.models.common.checkpoint import Checkpoint
from comfyui_trajectory.models.common.errors import CheckpointError
from comfyui_trajectory.models.common.registry import identify
from safetensors.torch import load_file, save_file

from ..tiny_tora import t5_weights

MANIFESTS = Path(__file__).parents[3] / "shared" / "golden" / "manifests"
needs_manifests = pytest.mark.skipif(
    not MANIFESTS.is_dir(), reason="the manifests (../shared/golden/manifests) are not here"
)
SIZES = CogVideoXConfig(
    num_attention_heads=4, attention_head_dim=16, time_embed_dim=24, text_embed_dim=40, num_layers=2, sample_width=12,
    sample_height=8, sample_frames=9, max_text_seq_length=7, traj_extractor_channels=8,
)  # fmt: skip
I2V = replace(SIZES, in_channels=32, use_learned_positional_embeddings=True)
VAE = CogVideoXVAEConfig(block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=4)


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for p in module.parameters():
        scale = 0.5 / max(1, p[0].numel()) ** 0.5 if p.ndim > 1 else 0.2
        p.data = torch.randn(p.shape, generator=generator) * scale + (p.ndim <= 1) * 0.5
    return module.eval()


def stated(config) -> dict:
    """What the shapes do not tell."""
    names = ("sample_width", "sample_height", "sample_frames", "max_text_seq_length", "norm_num_groups")
    return {name: value for name, value in asdict(config).items() if name in names}


# The full-size files.


def manifest(name: str) -> dict[str, list[int]]:
    return json.loads(gzip.open(MANIFESTS / f"{name}.json.gz").read())["keys"]


def on_meta(keys: dict, prefix: str = "", dtype: torch.dtype = torch.float16, name: str = "file") -> Checkpoint:
    tensors = {prefix + key: torch.empty(shape, device="meta", dtype=dtype) for key, shape in keys.items()}
    return Checkpoint.from_tensors(tensors, path=name)


@needs_manifests
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "model."])
@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("tora_transformer_t2v", "tora t2v"), ("tora_transformer_i2v", "tora i2v"),
        ("cogvideox_5b_transformer", "t2v"), ("cogvideox_5b_transformer_i2v", "i2v"),
    ],
)  # fmt: skip
def test_every_key_of_a_transformer_in_diffusers_naming_is_used_and_none_is_missing(
    name: str, variant: str, prefix: str
):
    keys = manifest(name)
    dtype = torch.float8_e4m3fn if prefix == "model." else torch.float16
    checkpoint = on_meta(keys, prefix, dtype, name)
    found = identify(checkpoint, "diffusion model")
    assert found.variant == variant and found.problem is None
    state = build(checkpoint, found).state_dict()
    expected = {key: shape for key, shape in keys.items() if not key.endswith("num_batches_tracked")}
    assert {key: list(value.shape) for key, value in state.items()} == expected


@needs_manifests
@pytest.mark.parametrize(("name", "variant"), [("tora_sat_t2v", "tora t2v"), ("tora_sat_i2v", "tora i2v")])
def test_every_key_of_the_original_release_finds_its_place(name: str, variant: str):
    checkpoint = on_meta({**manifest(name), "model.conditioner.other": [3]}, name=name)
    found = identify(checkpoint, "diffusion model")
    assert found.variant == variant and not found.config.use_learned_positional_embeddings
    state = build(checkpoint, found).state_dict()
    diffusers = manifest(name.replace("sat", "transformer"))
    left_out = ("num_batches_tracked", "pos_embedding")  # nothing reads the first, the release never adds the second
    assert {k: list(v.shape) for k, v in state.items()} == {
        k: s for k, s in diffusers.items() if not k.endswith(left_out)
    }


@needs_manifests
@pytest.mark.parametrize("base", ["cogvideox_5b_transformer", "cogvideox_5b_transformer_i2v"])
def test_the_split_files_of_tora_fit_both_bases(base: str, tmp_path, monkeypatch):
    from comfyui_trajectory.models.cogvideox import parts

    ending = "_I2V" if base.endswith("i2v") else ""
    files = {
        f"fuser{ending}.safetensors": "kijai_tora_fuser",
        f"traj_extractor{ending}.safetensors": "kijai_tora_traj_extractor",
    }
    for file in files:
        (tmp_path / file).touch()
    monkeypatch.setattr(parts, "open_checkpoint", lambda path: on_meta(manifest(files[path.name]), name=path))
    checkpoint = on_meta(manifest(base), "model.diffusion_model.", name=base)
    joined = with_motion(checkpoint, identify(checkpoint, "diffusion model"), tmp_path / f"fuser{ending}.safetensors")
    found = identify(joined, "diffusion model")
    assert found.variant == ("tora i2v" if ending else "tora t2v")
    build(joined, found)


@needs_manifests
@pytest.mark.parametrize("prefix", ["", "vae.", "first_stage_model."])
def test_every_key_of_the_vae_is_used_and_none_is_missing(prefix: str):
    keys = manifest("cogvideox_vae")
    checkpoint = on_meta(keys, prefix)
    state = build(checkpoint, identify(checkpoint, "vae")).state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == keys


@needs_manifests
@pytest.mark.parametrize("prefix", ["", "text_encoders.t5xxl.transformer.", "t5xxl.transformer."])
@pytest.mark.parametrize("copy", [False, True], ids=["", "with a copy of the table"])
def test_every_key_of_t5_is_used_and_none_is_missing(prefix: str, copy: bool):
    keys = manifest("t5_v1_1_xxl_encoder")
    keys |= {"encoder.embed_tokens.weight": keys["shared.weight"]} if copy else {}
    checkpoint = on_meta(keys, prefix)
    found = identify(checkpoint, "text encoder")
    assert (found.family, found.variant) == ("cogvideox", "t5 v1.1")
    text.load(checkpoint, found, device="meta")


# Layouts, with small weights and as files.


def transformer(config: CogVideoXConfig = SIZES) -> CogVideoXTransformer:
    return randomised(CogVideoXTransformer(config))


def run(module: torch.nn.Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    config = module.config
    x, image, flow = (torch.randn(1, 16, 3, 8, 12, generator=generator) for _ in range(3))
    words = torch.randn(1, config.max_text_seq_length, config.text_embed_dim, generator=generator)
    return module(x, torch.tensor([500]), words, image if config.variant == "i2v" else None, flow)


def sat_names(state: dict, layers: int) -> dict[str, torch.Tensor]:
    """A state dict of diffusers' names as the original release has it: the manifest's rules the other way round."""
    found = {}
    for i in range(layers):
        block, layer = f"transformer_blocks.{i}", f"transformer.layers.{i}"
        for what in ("weight", "bias"):
            found[f"{layer}.attention.query_key_value.{what}"] = torch.cat(
                [state.pop(f"{block}.attn1.to_{n}.{what}") for n in "qkv"]
            )
            one, two = (state.pop(f"{block}.norm{n}.linear.{what}").chunk(6) for n in (1, 2))
            found[f"mixins.adaln_layer.adaLN_modulations.{i}.1.{what}"] = torch.cat(
                [*one[:3], *two[:3], *one[3:], *two[3:]]
            )
            for old, new in {
                "norm1.norm": f"{layer}.input_layernorm", "norm2.norm": f"{layer}.post_attention_layernorm",
                "attn1.to_out.0": f"{layer}.attention.dense", "ff.net.0.proj": f"{layer}.mlp.dense_h_to_4h",
                "ff.net.2": f"{layer}.mlp.dense_4h_to_h",
                "attn1.norm_q": f"mixins.adaln_layer.query_layernorm_list.{i}",
                "attn1.norm_k": f"mixins.adaln_layer.key_layernorm_list.{i}",
            }.items():  # fmt: skip
                found[f"{new}.{what}"] = state.pop(f"{block}.{old}.{what}")
    for key, value in state.items():
        for old, new in {
            "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
            "patch_embed": "mixins.patch_embed", "norm_final": "transformer.final_layernorm",
            "norm_out.norm": "mixins.final_layer.norm_final",
            "norm_out.linear": "mixins.final_layer.adaLN_modulation.1",
            "proj_out": "mixins.final_layer.linear", "fuser": "mixins.adaln_layer.fuser_list",
        }.items():  # fmt: skip
            key = new + key.removeprefix(old) if key.startswith(f"{old}.") else key
        found[key.replace("mixins.patch_embed.pos_embedding", "mixins.pos_embed.pos_embedding")] = value
    return {f"model.diffusion_model.{key}": value for key, value in found.items()}


def test_one_model_in_every_layout_gives_the_same_numbers(tmp_path):
    module = transformer()
    expected = run(module)
    state = module.state_dict()
    folder = tmp_path / "Tora_T2V_diffusers" / "transformer"
    folder.mkdir(parents=True)
    names = sorted(state)
    for part in (1, 2):
        half = {name: state[name] for name in names[part - 1 :: 2]}
        save_file(half, folder / f"diffusion_pytorch_model-{part:05d}-of-00002.safetensors")
    (folder / "config.json").write_text(json.dumps(
        {"_class_name": "ToraTransformer3DModel", **stated(SIZES), "patch_size_t": None, "ofs_embed_dim": None}
    ))  # fmt: skip
    (tmp_path / "1").mkdir()
    torch.save({"module": sat_names(dict(state), SIZES.num_layers)}, tmp_path / "1" / "mp_rank_00_model_states.pt")
    base = {key: value for key, value in state.items() if not key.startswith(("fuser.", "traj_extractor."))}
    save_file(base, tmp_path / "CogVideoX_5b.safetensors")
    for name in ("fuser", "traj_extractor"):
        (tmp_path / "split" / name).mkdir(parents=True)
        part = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
        save_file(part, tmp_path / "split" / name / f"{name}.safetensors")
    single = tmp_path / "tora.safetensors"
    save_file({f"model.diffusion_model.{key}": value for key, value in state.items()}, single)

    loaded = [
        load_model(folder),
        load_model(folder / "diffusion_pytorch_model-00002-of-00002.safetensors"),
        load_model(tmp_path / "1" / "mp_rank_00_model_states.pt", config=stated(SIZES)),
        load_model(single, config=stated(SIZES)),
        *(
            load_model(
                tmp_path / "CogVideoX_5b.safetensors",
                motion=tmp_path / "split" / name / f"{name}.safetensors", config=stated(SIZES),
            )
            for name in ("fuser", "traj_extractor")
        ),
    ]  # fmt: skip
    for model in loaded:
        assert model.config == SIZES
        torch.testing.assert_close(run(model.module), expected, rtol=1e-5, atol=1e-5)
    assert info(single)["variant"] == "tora t2v" and info(folder)["sizes"]["sample_width"] == 12


def test_learned_positions_are_added_in_diffusers_format_and_left_out_in_the_original(tmp_path):
    module = transformer(I2V)
    module.patch_embed.pos_embedding.normal_(generator=torch.Generator().manual_seed(2))
    state = module.state_dict()
    save_file(state, tmp_path / "tora_i2v.safetensors")
    torch.save({"module": sat_names(dict(state), I2V.num_layers)}, tmp_path / "mp_rank_00_model_states.pt")
    with_table = load_model(tmp_path / "tora_i2v.safetensors", config=stated(I2V))
    without = load_model(tmp_path / "mp_rank_00_model_states.pt", config=stated(I2V))
    torch.testing.assert_close(run(with_table.module), run(module), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(run(without.module), run(module), atol=1e-2)
    module.patch_embed.pos_embedding.zero_()
    torch.testing.assert_close(run(without.module), run(module), rtol=1e-5, atol=1e-5)


def test_fp8_files_keep_their_linear_weights_in_fp8_and_come_close(tmp_path):
    module = transformer()
    state = {
        key: value.to(torch.float8_e4m3fn)
        if value.ndim == 2 and "transformer_blocks" in key and "norm" not in key
        else value
        for key, value in module.state_dict().items()
    }
    save_file(state, tmp_path / "tora_fp8.safetensors")
    model = load_model(tmp_path / "tora_fp8.safetensors", config=stated(SIZES))
    kept = {name: p.dtype for name, p in model.module.named_parameters() if p.dtype.itemsize == 1}
    assert len(kept) == 6 * SIZES.num_layers
    exact, rounded = run(module), run(model.module)
    assert (rounded - exact).abs().max() < 0.2 * exact.std()
    assert all(p.dtype.itemsize == 4 for name, p in model.module.named_parameters() if name not in kept)


def test_the_vae_of_the_original_release_gives_the_same_numbers(tmp_path):
    vae = randomised(CogVideoXVAE(VAE))
    save_file(vae.state_dict(), tmp_path / "vae.safetensors")
    state = {}
    for key, value in vae.state_dict().items():
        part, *rest = key.split(".")
        name = key
        if rest[0] in ("down_blocks", "up_blocks"):
            short, level = rest[0].split("_")[0], int(rest[1])
            level = len(VAE.block_out_channels) - 1 - level if short == "up" else level
            kind = f"block.{rest[3]}" if rest[2] == "resnets" else {"down": "downsample", "up": "upsample"}[short]
            name = ".".join([part, short, str(level), kind, *rest[4:]]).replace("conv_shortcut", "nin_shortcut")
        elif rest[0] == "mid_block":
            name = ".".join([part, "mid", f"block_{int(rest[2]) + 1}", *rest[3:]])
        state[name] = value
    torch.save({"state_dict": {**state, "loss.logvar": torch.zeros(1)}}, tmp_path / "3d-vae.pt")
    ours, original = (load_vae(tmp_path / name, config=stated(VAE)) for name in ("vae.safetensors", "3d-vae.pt"))
    latents = torch.randn(1, 16, 3, 2, 3, generator=torch.Generator().manual_seed(3))
    assert torch.equal(ours.decode(latents), original.decode(latents))


# What cannot be loaded says why.


@pytest.fixture
def files(tmp_path):
    """A small base and the two parts of Tora that fit it."""
    state = transformer().state_dict()
    save_file({k: v for k, v in state.items() if not k.startswith(("fuser.", "traj_"))}, tmp_path / "base.safetensors")
    for name in ("fuser", "traj_extractor"):
        part = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
        save_file(part, tmp_path / f"{name}.safetensors")
    return tmp_path


def refused(path, match: str, motion=None) -> None:
    with pytest.raises(CheckpointError, match=match):
        load_model(path, motion=motion, config=stated(SIZES))


def test_parts_of_another_layer_count_than_the_base(files):
    state = transformer(replace(SIZES, num_layers=3)).state_dict()
    for name in ("fuser", "traj_extractor"):
        part = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
        save_file(part, files / f"{name}.safetensors")
    refused(
        files / "base.safetensors",
        "3 fusers and 3 trajectory features, the transformer has 2 blocks",
        files / "fuser.safetensors",
    )


def test_image_to_video_parts_on_a_text_to_video_base(files):
    for name in ("fuser", "traj_extractor"):
        (files / f"{name}.safetensors").rename(files / f"{name}_I2V.safetensors")
    refused(
        files / "base.safetensors", "fuser_I2V.*for the i2v model, the base is t2v", files / "fuser_I2V.safetensors"
    )


def test_a_part_that_is_missing_or_is_something_else(files):
    (files / "traj_extractor.safetensors").unlink()
    refused(files / "base.safetensors", r"traj_extractor\.safetensors is missing", files / "fuser.safetensors")
    (files / "base.safetensors").rename(files / "x.safetensors")
    save_file(load_file(files / "x.safetensors"), files / "traj_extractor.safetensors")
    refused(files / "x.safetensors", "is not Tora's traj_extractor", files / "fuser.safetensors")
    refused(files / "x.safetensors", "not named like one of Tora's parts", files / "x.safetensors")


def test_parts_for_a_model_that_has_them(files):
    save_file(transformer().state_dict(), files / "whole.safetensors")
    refused(files / "whole.safetensors", "holds Tora's parts already", files / "fuser.safetensors")


def test_half_of_toras_parts_in_one_file(files):
    state = {k: v for k, v in transformer().state_dict().items() if not k.startswith("fuser.")}
    save_file(state, files / "half.safetensors")
    refused(files / "half.safetensors", r"only half of Tora's.*fuser\.0\.flow_gamma_spatial\.weight is missing")


def test_a_smaller_cogvideox_is_named():
    wide = CogVideoXConfig(num_attention_heads=30, num_layers=1, text_embed_dim=8, time_embed_dim=8)
    with torch.device("meta"):
        shapes = CogVideoXTransformer(wide).state_dict()
    with pytest.raises(CheckpointError, match="CogVideoX 2B"):
        identify(Checkpoint.from_tensors(shapes), "diffusion model")


def test_t5_without_its_tokenizer_says_where_to_get_it(tmp_path):
    weights = t5_weights()
    del weights["spiece_model"]
    save_file(weights, tmp_path / "t5.safetensors")
    with pytest.raises(CheckpointError, match=r"carries no tokenizer.*t5-v1_1-xxl"):
        load_text_encoder(tmp_path / "t5.safetensors").encode("a dog")


def test_tiles_of_any_side_join_up():
    vae = randomised(CogVideoXVAE(VAE))
    generator = torch.Generator().manual_seed(4)
    latents = torch.randn(1, 16, 1, 13, 26, generator=generator)
    pixels = torch.rand(1, 3, 1, 104, 208, generator=generator)
    for side in (1, 100, 150):
        tiling = Tiling.of_side(side)
        assert vae.decode(latents, tiling).shape == (1, 3, 1, 104, 208)
        assert vae.moments(pixels, tiling).shape == (1, 32, 1, 13, 26)
    assert torch.equal(vae.decode(latents, Tiling.of_side(300)), vae.decode(latents))
