"""The picture that is seen while sampling: linear, or by the user's tiny decoder; and several videos in one run."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from comfyui_trajectory.models.common.errors import CheckpointError
from comfyui_trajectory.models.common.tiny_decoder import TinyDecoder, load_tiny_decoder
from comfyui_trajectory.nodes.host import PlainHost
from comfyui_trajectory.nodes.preview import previewer
from safetensors.torch import save_file

from .test_generation import encode, sample

WIDTHS, COUNTS = [8, 6, 4, 4], [1, 2, 2]


@pytest.fixture
def weights():
    torch.manual_seed(0)
    return {name: value.clone() for name, value in TinyDecoder(16, WIDTHS, COUNTS).state_dict().items()}


def one_by_one(weights: dict, latents: torch.Tensor) -> list[torch.Tensor]:
    """TAEHV frame by frame: every block remembers its last input (madebyollin/taehv's way with parallel=False)."""
    memory, out = {}, []

    def conv(x, name, padding=1):
        return F.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), padding=padding)

    def block(x, name):
        past = memory.get(name, torch.zeros_like(x))
        memory[name] = x
        y = F.relu(conv(torch.cat([x, past], 1), f"{name}.conv.0"))
        return F.relu(conv(F.relu(conv(y, f"{name}.conv.2")), f"{name}.conv.4") + x)

    def level(x, index):
        if index == 3:
            out.append(conv(F.relu(x), "decoder.22").clamp(0, 1)[0].permute(1, 2, 0))
            return
        first = 3 + 6 * index
        for number in range(first, first + 3):
            x = block(x, f"decoder.{number}")
        x = F.interpolate(x, scale_factor=2)
        for part in conv(x, f"decoder.{first + 4}.conv", padding=0).chunk(COUNTS[index], dim=1):
            level(conv(part, f"decoder.{first + 5}"), index + 1)

    for frame in latents.unbind(1):
        level(F.relu(conv(3 * torch.tanh(frame[None] / 3), "decoder.1")), 0)
    return out


def test_the_tiny_decoder_gives_the_last_frame_as_taehv_does(weights, tmp_path):
    file = tmp_path / "taew2_1.safetensors"
    save_file({**weights, "encoder.0.weight": torch.zeros(1)}, file)
    latents = 2 * torch.randn(16, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    picture = load_tiny_decoder(file).frame(latents)
    frames = one_by_one(weights, latents)
    assert len(frames) == 12 and picture.shape == (32, 40, 3)
    assert torch.allclose(picture, frames[-1], atol=1e-5) and not torch.allclose(frames[-1], frames[-2], atol=1e-3)


def test_another_file_is_told_by_its_name(tmp_path):
    save_file({"decoder.1.weight": torch.zeros(4, 4)}, tmp_path / "taew2_1.safetensors")
    with pytest.raises(CheckpointError, match="taew2_1.safetensors is no TAEHV decoder"):
        load_tiny_decoder(tmp_path / "taew2_1.safetensors")


@pytest.fixture
def with_file(plain_host, tmp_path, monkeypatch):
    """A host whose folder vae_approx holds `tmp_path / "taew2_1.pth"`."""
    files = {"vae_approx": ["sub/taew2_1.pth"]}
    monkeypatch.setattr(PlainHost, "_model_files", lambda self, kind: files.get(kind, []))
    monkeypatch.setattr(PlainHost, "_model_path", lambda self, kind, name: tmp_path / "taew2_1.pth")
    return tmp_path / "taew2_1.pth"


def test_the_users_tiny_decoder_is_used_where_its_latents_are_the_models(tiny, with_file, weights):
    torch.save(weights, with_file)
    x0 = torch.randn(1, 16, 5, 4, 4)
    picture = previewer(tiny.model)(x0)
    assert torch.allclose(picture, load_tiny_decoder(with_file).frame(x0[0, :, :3]))
    tiny.model.latent_format = type(tiny.model.latent_format)(
        **{**vars(tiny.model.latent_format), "tiny_decoder": None}
    )  # as of the embedded model
    assert previewer(tiny.model)(x0).shape == (4, 4, 3)


def test_a_broken_tiny_decoder_is_told_and_does_not_stop_the_video(tiny, with_file, caplog):
    with_file.write_bytes(b"nothing")
    assert previewer(tiny.model)(torch.randn(1, 16, 5, 4, 4)).shape == (4, 4, 3)
    assert "taew2_1.pth" in caplog.text


def test_a_batch_is_what_the_seeds_give_one_by_one(tiny):
    motion, *_ = encode(tiny)
    together = sample(tiny, motion, seed=2**64 - 1, batch=2)["samples"]
    alone = [sample(tiny, motion, seed=seed)["samples"] for seed in (2**64 - 1, 0)]
    assert torch.equal(together, torch.cat(alone))


def test_every_connected_latent_is_refined_by_the_number_of_the_batch(tiny):
    motion, *_ = encode(tiny)
    start = sample(tiny, motion, batch=2)
    options = {"denoise": 0.5, "seed": 5}
    both = sample(tiny, motion, latent=start, batch=2, **options)["samples"]
    single = sample(tiny, motion, latent={"samples": start["samples"][1:]}, denoise=0.5, seed=8)["samples"]
    assert both.shape[0] == 4 and torch.allclose(both[3:], single, atol=1e-6)
