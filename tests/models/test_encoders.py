"""umT5 with its tokenizer, and CLIP vision, in small: layouts, prompts, preprocessing."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
import torch
from comfyui_trajectory.models.common.checkpoint import Checkpoint, CheckpointError, ModelError, open_checkpoint
from comfyui_trajectory.models.common.ops import real_weight, store_fp8
from comfyui_trajectory.models.common.registry import identify
from comfyui_trajectory.models.common.t5 import END
from comfyui_trajectory.models.wan import image, text
from safetensors.torch import save_file

WORDS = "a bear lies in the shade and the sun moves over a red car with a dog by the sea , the camera follows".split()


@pytest.fixture(scope="module")
def spiece() -> bytes:
    """A sentencepiece model like umT5's in small: padding 0, </s> 1."""
    import sentencepiece

    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS * 20), model_writer=stream, vocab_size=40, hard_vocab_limit=False,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    return stream.getvalue()


def comfy_weights(vocabulary: int = 64, dim: int = 8, heads: int = 2, layers: int = 2) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    weights = {"shared.weight": torch.randn(vocabulary, dim), "encoder.final_layer_norm.weight": torch.ones(dim)}
    for i in range(layers):
        block = f"encoder.block.{i}.layer"
        weights |= {f"{block}.0.SelfAttention.{n}.weight": torch.randn(dim, dim) / 3 for n in "qkvo"}
        weights |= {f"{block}.1.DenseReluDense.{n}.weight": torch.randn(16, dim) / 3 for n in ("wi_0", "wi_1")}
        weights |= {
            f"{block}.0.SelfAttention.relative_attention_bias.weight": torch.randn(32, heads),
            f"{block}.1.DenseReluDense.wo.weight": torch.randn(dim, 16) / 3,
            f"{block}.0.layer_norm.weight": torch.rand(dim) + 0.5,
            f"{block}.1.layer_norm.weight": torch.rand(dim) + 0.5,
        }
    return weights


def official(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same weights under the names of the release."""
    names = {
        "shared": "token_embedding", "encoder.final_layer_norm": "norm", "encoder.block": "blocks",
        "layer.0.SelfAttention.relative_attention_bias": "pos_embedding.embedding", "layer.0.SelfAttention": "attn",
        "layer.0.layer_norm": "norm1", "layer.1.layer_norm": "norm2", "layer.1.DenseReluDense.wi_0": "ffn.gate.0",
        "layer.1.DenseReluDense.wi_1": "ffn.fc1", "layer.1.DenseReluDense.wo": "ffn.fc2",
    }  # fmt: skip
    renamed = {}
    for key, value in weights.items():
        for old, new in names.items():
            key = key.replace(old, new)
        renamed[key] = value
    return renamed


def load_text(weights: dict, path: str = "umt5.safetensors", **options) -> text.TextEncoder:
    checkpoint = Checkpoint.from_tensors(weights, path)
    return text.load(checkpoint, identify(checkpoint, "text encoder"), **options)


def as_tensor(model: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(model), dtype=torch.uint8)


def test_official_repackaged_and_all_in_one_files_encode_alike(spiece: bytes) -> None:
    weights = comfy_weights()
    model = {"spiece_model": as_tensor(spiece)}
    prefix = "text_encoders.umt5xxl.transformer."
    layouts = (
        {**weights, **model},
        {**weights, **model, "encoder.embed_tokens.weight": weights["shared.weight"]},
        {**official(weights), **model},
        {
            **{prefix + key: value for key, value in weights.items()},
            "text_encoders.spiece_model": model["spiece_model"],
        },
    )
    first, *others = (load_text(layout).encode("a red car, a dog") for layout in layouts)
    assert first.ndim == 2 and first.shape[1] == 8
    for other in others:
        assert torch.equal(first, other)


def test_fp8_text_encoders_do_not_round_their_activations(spiece: bytes) -> None:
    ids = torch.tensor([[5, 9, 3, 1]])
    encoder = load_text({**comfy_weights(), "spiece_model": as_tensor(spiece)})
    before = encoder.encode_ids(ids)
    store_fp8(encoder.module, keep=("norm", "bias"))
    widened = load_text(comfy_weights())
    for name, layer in widened.module.named_modules():
        if isinstance(layer, torch.nn.Linear):
            layer.weight.copy_(real_weight(encoder.module.get_submodule(name), torch.float32))
    torch.testing.assert_close(encoder.encode_ids(ids), widened.encode_ids(ids), rtol=1e-5, atol=1e-5)
    assert not torch.equal(before, encoder.encode_ids(ids))


def test_the_rows_do_not_depend_on_padding(spiece: bytes) -> None:
    encoder = load_text({**comfy_weights(), "spiece_model": as_tensor(spiece)})
    ids, mask = torch.tensor([[5, 9, 3, 1, 0, 0]]), torch.tensor([[1, 1, 1, 1, 0, 0]])
    torch.testing.assert_close(encoder.encode_ids(ids, mask)[:, :4], encoder.encode_ids(ids[:, :4]))


def test_prompts_end_with_the_end_token_and_stop_at_512(spiece: bytes, caplog: pytest.LogCaptureFixture) -> None:
    encoder = load_text({**comfy_weights(), "spiece_model": as_tensor(spiece)})
    assert encoder.encode("").shape == (1, 8)  # </s> alone
    assert encoder.tokenizer("a dog")[-1] == END
    with caplog.at_level(logging.WARNING):
        assert encoder.encode("dog " * 2000).shape == (512, 8)
    assert "left out" in caplog.text


def test_the_tokenizer_is_found_in_the_file_beside_it_or_where_the_user_says(spiece: bytes, tmp_path: Path) -> None:
    inside = load_text({**comfy_weights(), "spiece_model": as_tensor(spiece)}).encode("a red dog")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "spiece.model").write_bytes(spiece)
    for place in ("elsewhere", "elsewhere/spiece.model"):
        assert torch.equal(load_text(comfy_weights(), tokenizer=tmp_path / place).encode("a red dog"), inside)
    save_file(comfy_weights(), tmp_path / "umt5.safetensors")
    (tmp_path / "google" / "umt5-xxl").mkdir(parents=True)
    (tmp_path / "google" / "umt5-xxl" / "spiece.model").write_bytes(spiece)
    checkpoint = open_checkpoint(tmp_path / "umt5.safetensors")
    assert torch.equal(text.load(checkpoint, identify(checkpoint, "text encoder")).encode("a red dog"), inside)


def test_no_tokenizer_a_damaged_one_and_a_foreign_one_have_errors_of_their_own(spiece: bytes, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"carries no tokenizer.*spiece\.model"):
        load_text(comfy_weights(), path=str(tmp_path / "umt5.pth")).encode("a dog")
    with pytest.raises(CheckpointError, match="holds no tokenizer"):
        load_text(comfy_weights(), tokenizer=tmp_path)
    with pytest.raises(CheckpointError, match="sentencepiece model cannot be read"):
        load_text({**comfy_weights(), "spiece_model": torch.ones(50, dtype=torch.uint8)})
    small = load_text({**comfy_weights(vocabulary=4), "spiece_model": as_tensor(spiece)})
    with pytest.raises(ModelError, match="do not belong together"):
        small.encode("a red dog by the sea")


def test_without_ftfy_prompts_are_still_unescaped_and_trimmed(monkeypatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ftfy", None)
    text.fixer.cache_clear()
    with caplog.at_level(logging.INFO):
        assert text.clean("  a &amp;amp;  b\n") == text.clean("a & b") == "a & b"
    assert caplog.text.count("ftfy is not installed") == 1
    text.fixer.cache_clear()


def clip_weights(width: int = 4, side: int = 2, patch: int = 2) -> dict[str, torch.Tensor]:
    layer = "visual.transformer.0"
    weights = {
        "visual.cls_embedding": torch.zeros(1, 1, width), "visual.pos_embedding": torch.zeros(1, 1 + side**2, width),
        "visual.patch_embedding.weight": torch.zeros(width, 3, patch, patch), "visual.head": torch.zeros(width, 3),
        f"{layer}.attn.to_qkv.weight": torch.arange(3.0 * width * width).reshape(3 * width, width),
        f"{layer}.attn.to_qkv.bias": torch.arange(3.0 * width),
        f"{layer}.attn.proj.weight": torch.zeros(width, width), f"{layer}.attn.proj.bias": torch.zeros(width),
        f"{layer}.mlp.0.weight": torch.zeros(8, width), f"{layer}.mlp.0.bias": torch.zeros(8),
        f"{layer}.mlp.2.weight": torch.zeros(width, 8), f"{layer}.mlp.2.bias": torch.zeros(width),
    }  # fmt: skip
    for norm in ("visual.pre_norm", "visual.post_norm", f"{layer}.norm1", f"{layer}.norm2"):
        weights |= {f"{norm}.weight": torch.ones(width), f"{norm}.bias": torch.zeros(width)}
    return weights


def load_image(weights: dict, **stated) -> image.ImageEncoder:
    checkpoint = Checkpoint.from_tensors(weights, "clip.safetensors")
    return image.load(checkpoint, identify(checkpoint, "image encoder", stated))


def test_fused_queries_keys_and_values_become_three_equal_parts() -> None:
    weights = clip_weights()
    attention = image.inner(load_image(weights, num_attention_heads=2).module).encoder.layers[0].self_attn
    parts = weights["visual.transformer.0.attn.to_qkv.weight"].chunk(3)
    for name, part in zip("qkv", parts):
        assert torch.equal(getattr(attention, f"{name}_proj").weight, part)


def test_any_image_size_is_read_from_the_positions() -> None:
    encoder = load_image(clip_weights(side=3, patch=4), num_attention_heads=1)
    assert encoder.config.image_size == 12
    assert encoder.encode(torch.rand(2, 9, 30, 3)).shape == (2, 10, 4)


def test_an_image_encoder_whose_heads_are_unknown_asks_for_them() -> None:
    with pytest.raises(CheckpointError, match="number of heads.*num_attention_heads"):
        load_image(clip_weights())


def test_what_is_not_an_image_is_an_error() -> None:
    encoder = load_image(clip_weights(), num_attention_heads=1)
    for wrong in (torch.rand(1, 3, 8, 8), torch.randint(0, 255, (1, 8, 8, 3))):
        with pytest.raises(ModelError, match=r"float images \[batch, height, width, 3\]"):
            encoder.encode(wrong)
