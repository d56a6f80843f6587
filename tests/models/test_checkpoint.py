"""Reading checkpoints: every layout of files, and every way in which a file can be wrong."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from comfyui_trajectory.models.common import checkpoint
from comfyui_trajectory.models.common.checkpoint import CheckpointError, assign, open_checkpoint
from comfyui_trajectory.models.common.registry import identify, info
from comfyui_trajectory.models.wan.config import WanConfig, WanVAEConfig
from comfyui_trajectory.models.wan.transformer import WanTransformer
from comfyui_trajectory.models.wan.vae import WanVAE
from safetensors.torch import save_file
from torch import nn

from .peak_memory import needs_linux

CONFIG = WanConfig(
    "t2v", dim=128, ffn_dim=32, num_heads=1, num_layers=2, text_dim=8, freq_dim=16, in_dim=16, text_len=4
)


def weights(**changes) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {**WanTransformer(CONFIG).state_dict(), **changes}


def load(path: Path) -> WanTransformer:
    checkpoint = open_checkpoint(path)
    found = identify(checkpoint, "diffusion model")
    with torch.device("meta"):
        module = WanTransformer(found.config)
    return assign(module, checkpoint.part("diffusion model"))


def same(module: nn.Module, expected: dict[str, torch.Tensor]) -> bool:
    state = module.state_dict()
    return set(state) == set(expected) and all(torch.equal(state[key], value) for key, value in expected.items())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_file(weights(), path)
    return path


def save_shards(folder: Path) -> list[Path]:
    keys = sorted(weights())
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for name, part in zip(names, (keys[::2], keys[1::2])):
        save_file({key: weights()[key] for key in part}, folder / name)
    index = {"weight_map": {key: names[i % 2] for i, key in enumerate(keys)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return [folder / name for name in names]


def test_shards_are_found_from_their_folder_their_index_or_one_of_them(tmp_path: Path) -> None:
    shards = save_shards(tmp_path)
    for path in (tmp_path, tmp_path / "model.safetensors.index.json", shards[1]):
        assert same(load(path), weights())
        assert open_checkpoint(path).files == shards


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    shards = save_shards(tmp_path)
    shards[1].unlink()
    for path in (tmp_path, shards[0]):
        with pytest.raises(CheckpointError, match=re.escape(str(shards[1])) + " is missing"):
            open_checkpoint(path)


def test_torch_pickles_of_weights_load_whatever_they_are_wrapped_in(tmp_path: Path) -> None:
    for number, content in enumerate(
        (weights(), {"state_dict": weights(), "step": 3}, {"model": {"module": weights()}})
    ):
        torch.save(content, tmp_path / f"{number}.pth")
        assert same(load(tmp_path / f"{number}.pth"), weights())
    torch.save(weights(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert same(load(tmp_path / "old.pth"), weights())


def test_a_pickle_with_code_is_refused_and_the_code_does_not_run(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w').close()",))

    torch.save({**weights(), "payload": Attack()}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=r"bad\.pth contains program code.*Nothing of it was run"):
        open_checkpoint(tmp_path / "bad.pth")
    assert not (tmp_path / "ran").exists()


def test_truncated_files_say_how_much_is_there(file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    for length, message in (
        (len(data) - 100, f"{len(data) - 100:,} of {len(data):,} bytes"),
        (40, "inside its header"),
    ):
        file.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=rf"model\.safetensors is truncated.*{message}.*again"):
            open_checkpoint(file)
    torch.save(weights(), tmp_path / "model.pth")
    data = (tmp_path / "model.pth").read_bytes()
    (tmp_path / "model.pth").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=r"model\.pth is truncated"):
        open_checkpoint(tmp_path / "model.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"GGUF\x03\x00\x00\x00\x00\x00\x00\x00", "GGUF"),
        (struct.pack("<Q", 20) + b"{not json at all...}", "damaged safetensors header"),
        (struct.pack("<Q", 2) + b"{}", "holds no tensors"),
        (b"short", "is not a safetensors file"),
    ],
)
def test_what_is_not_a_checkpoint_is_told_what_it_is(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"model\.safetensors .*{message}"):
        open_checkpoint(path)


def test_missing_files_and_empty_folders_have_errors_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.safetensors does not exist"):
        open_checkpoint(tmp_path / "nowhere.safetensors")
    with pytest.raises(CheckpointError, match="folder without a checkpoint"):
        open_checkpoint(tmp_path)
    (tmp_path / "transformer").mkdir()
    with pytest.raises(CheckpointError, match="diffusers pipeline folder"):
        open_checkpoint(tmp_path)


def test_missing_left_over_and_misshapen_keys_stand_in_one_error(file: Path) -> None:
    state = weights(**{"extra.weight": torch.ones(2), "blocks.1.self_attn.q.weight": torch.ones(3, 3)})
    del state["blocks.0.norm3.bias"]
    save_file(state, file)
    with pytest.raises(CheckpointError) as error:
        load(file)
    text = str(error.value)
    assert str(file) in text
    assert "1 missing (blocks.0.norm3.bias)" in text
    assert "1 left over (extra.weight)" in text
    assert "blocks.1.self_attn.q.weight is [3, 3], the model needs [128, 128]" in text


def test_a_key_that_its_sizes_are_read_from_is_named_when_it_is_missing(file: Path) -> None:
    state = weights()
    del state["blocks.0.ffn.0.weight"]
    save_file(state, file)
    with pytest.raises(CheckpointError, match=r"model\.safetensors looks like a wan .* lacks 'blocks\.0\.ffn\.0"):
        load(file)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_every_fp8_number_is_known_as_finite_or_not(dtype: torch.dtype) -> None:
    for byte in range(256):
        for others in ([], [1, 129]):
            numbers = torch.tensor([byte, *others], dtype=torch.uint8).view(dtype)
            assert checkpoint._finite(numbers) == bool(numbers.float().isfinite().all()), (byte, others)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_nan_weights_are_found_in_every_dtype(file: Path, dtype: torch.dtype) -> None:
    bad = torch.zeros(32, 128)
    bad[31, 127] = float("nan")
    save_file(weights(**{"blocks.1.ffn.0.weight": bad.to(dtype)}), file)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: 'blocks\.1\.ffn\.0\.weight' holds NaN"):
        load(file)


def test_infinite_weights_are_found(file: Path) -> None:
    save_file(weights(**{"blocks.1.ffn.0.bias": torch.full((32,), -torch.inf)}), file)
    with pytest.raises(CheckpointError, match="holds NaN or infinite"):
        load(file)


def test_a_vae_loaded_as_a_model_is_told_where_it_belongs(file: Path) -> None:
    save_file(WanVAE(WanVAEConfig(dim=4)).state_dict(), file)
    with pytest.raises(
        CheckpointError, match=r"not a diffusion model.*It is a Wan 2.1 VAE: .*models/vae.*Trajectory VAE Loader"
    ):
        load(file)
    assert info(file)["kind"] == "vae"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["blocks.0.self_attn.q.lora_A.weight", "blocks.0.self_attn.q.lora_B.weight"], "a LoRA"),
        (["model.diffusion_model.input_blocks.0.0.weight", "label_emb.0.0.weight"], "an SDXL checkpoint"),
        (["double_blocks.0.img_attn.qkv.weight"], "a Flux model"),
        (["what.is.this"], "of no known model (first: what.is.this)"),
    ],
)  # fmt: skip
def test_a_foreign_file_is_told_what_it_seems_to_be(file: Path, keys: list[str], message: str) -> None:
    save_file({key: torch.zeros(2, 2) for key in keys}, file)
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load(file)
    assert info(file)["kind"] is None


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("vace_patch_embedding.weight", "Wan VACE"),
        ("img_emb.emb_pos", "first-and-last-frame"),
        ("control_adapter.conv.weight", "camera control"),
    ],
)
def test_wan_variants_that_cannot_run_are_named_with_what_to_use(file: Path, key: str, message: str) -> None:
    save_file(weights(**{key: torch.ones(1)}), file)
    with pytest.raises(CheckpointError, match=f"{message}.*Use Wan2.1 I2V"):
        load(file)
    assert message in info(file)["problem"]


def test_diffusers_naming_is_recognised(file: Path) -> None:
    keys = ("condition_embedder.time_embedder.linear_1.weight", "scale_shift_table", "blocks.0.attn1.to_q.weight")
    save_file({key: torch.zeros(1) for key in keys}, file)
    with pytest.raises(CheckpointError, match="diffusers' naming"):
        load(file)


def test_sizes_come_from_shapes_and_from_the_header_where_shapes_are_silent(file: Path) -> None:
    checkpoint = open_checkpoint(file)
    assert identify(checkpoint, "diffusion model").config.text_len == 512  # the release's: not in any shape
    save_file(weights(), file, metadata={"config": json.dumps({"num_heads": 4, "text_len": 4, "steps": 9})})
    config = identify(open_checkpoint(file), "diffusion model").config
    assert (config.num_heads, config.text_len, config.dim, config.num_layers) == (4, 4, 128, 2)


def test_a_header_that_contradicts_the_tensors_is_an_error(file: Path) -> None:
    save_file(weights(), file, metadata={"config": json.dumps({"ffn_dim": 64})})
    with pytest.raises(CheckpointError, match="its configuration says ffn_dim = 64, its tensors say 32"):
        load(file)
    save_file(weights(), file, metadata={"config": "{"})
    with pytest.raises(CheckpointError, match="is not JSON"):
        load(file)


def test_info_reads_headers_alone(file: Path) -> None:
    described = info(file)
    assert (described["kind"], described["family"], described["variant"]) == ("diffusion model", "wan", "t2v")
    assert described["parameters"] == sum(value.numel() for value in weights().values())
    assert described["bytes"] == 4 * described["parameters"]
    assert described["dtypes"] == {"float32": 1.0}
    assert described["sizes"]["ffn_dim"] == 32
    assert described["memory"] > described["bytes"]


@needs_linux
def test_loading_takes_no_more_memory_than_the_file() -> None:
    script = Path(__file__).with_name("peak_memory.py")
    run = subprocess.run([sys.executable, script, "0.3", "fp32"], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout)["ratio"] <= 1.1
