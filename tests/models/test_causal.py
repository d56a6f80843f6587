"""Causal convolutions made of pictures, in strips and in the place of what is no longer seen: the numbers of one
convolution over the whole clip."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from comfyui_trajectory.models.common import causal
from comfyui_trajectory.models.common.stream import Stream
from comfyui_trajectory.models.wan.vae import CausalConv3d

LEAST = 1  # bytes: strips of the fewest rows


def convolution(out_channels: int = 6, kernel: int | tuple = 3, padding: int | tuple = 1) -> CausalConv3d:
    torch.manual_seed(0)
    return CausalConv3d(6, out_channels, kernel, padding=padding).requires_grad_(False)


def whole(conv: CausalConv3d, clip: torch.Tensor) -> torch.Tensor:
    return F.conv3d(F.pad(clip, (0, 0, 0, 0, conv.history, 0)), conv.weight, conv.bias, padding=conv.padding)


@pytest.mark.parametrize("spare", [False, True])
@pytest.mark.parametrize(("height", "out_channels"), [(9, 6), (12, 6), (17, 6), (17, 4)])
@pytest.mark.parametrize("chunks", [(1, 1, 1, 1), (1, 2, 1), (4,), (2, 3)])
@torch.no_grad()
def test_strips_are_the_whole(monkeypatch, height: int, out_channels: int, chunks: tuple, spare: bool) -> None:
    conv, clip = convolution(out_channels), torch.randn(2, 6, sum(chunks), height, 7)
    expected = whole(conv, clip)
    for size in (LEAST, causal.STRIP):
        monkeypatch.setattr(causal, "STRIP", size)
        stream = Stream()
        made = torch.cat([conv(part.clone(), stream, spare) for part in clip.split(chunks, dim=2)], dim=2)
        torch.testing.assert_close(made, expected)


@torch.no_grad()
def test_kernels_that_see_one_row_are_made_in_strips_too(monkeypatch) -> None:
    monkeypatch.setattr(causal, "STRIP", LEAST)
    conv, clip = convolution(12, (3, 1, 1), (1, 0, 0)), torch.randn(1, 6, 3, 9, 5)
    torch.testing.assert_close(conv(clip, Stream()), whole(conv, clip))


@torch.no_grad()
def test_what_is_no_longer_seen_gives_its_place_to_the_result(monkeypatch) -> None:
    monkeypatch.setattr(causal, "STRIP", LEAST)
    conv, stream = convolution(), Stream()
    frames = [torch.randn(1, 6, 1, 9, 5).to(memory_format=torch.channels_last_3d) for _ in range(5)]
    places = [frame.data_ptr() for frame in frames]
    results = [conv(frame, stream, spare=True).data_ptr() for frame in frames]
    assert results[2:] == places[:3] and not {*results[:2]} & {*places}
    assert [frame.data_ptr() for frame in stream[conv]] == places[3:]


@torch.no_grad()
def test_what_others_may_use_is_left_alone(monkeypatch) -> None:
    monkeypatch.setattr(causal, "STRIP", LEAST)
    conv, stream = convolution(), Stream()
    frames = [torch.randn(1, 6, 1, 9, 5) for _ in range(4)]
    before = [frame.clone() for frame in frames]
    for frame in frames:
        conv(frame, stream)
    assert all(torch.equal(frame, kept) for frame, kept in zip(frames, before))


@torch.enable_grad()
def test_convolutions_that_learn_give_the_same(monkeypatch) -> None:
    monkeypatch.setattr(causal, "STRIP", LEAST)
    conv, clip = convolution().requires_grad_(True), torch.randn(1, 6, 3, 9, 5)
    made = conv(clip, Stream(), spare=True)
    torch.testing.assert_close(made, whole(conv, clip))
    made.sum().backward()
    assert conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("frames_at_once", [1, 2, 8])
@torch.no_grad()
def test_frames_are_asked_for_when_they_are_seen_and_the_result_may_lie_in_what_they_were_made_of(
    monkeypatch, dtype, frames_at_once: int
) -> None:
    clip = torch.randn(1, 6, 5, 9, 7).to(dtype)
    monkeypatch.setattr(causal, "LARGE_PIECE", frames_at_once * clip[:, :, 0].nbytes)
    conv = convolution().to(dtype)
    expected, place, asked = whole(conv, 2 * clip), clip.clone(), []

    def frames():
        for i, frame in enumerate(causal.as_frames(place)):
            asked.append(i)
            yield 2 * frame

    window = causal.Window((None, None), frames(), 5, spare=True, into=place)
    assert asked == [0]
    made = super(CausalConv3d, conv).forward(window)
    assert made.data_ptr() == place.data_ptr() and asked == [0, 1, 2, 3, 4]
    torch.testing.assert_close(made, expected, rtol=0.02, atol=1e-5 if dtype == torch.float32 else 0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_the_norm_of_a_clip_is_torchs_also_where_the_mean_is_large_and_frames_are_overwritten(dtype) -> None:
    torch.manual_seed(0)
    norm = causal.ClipNorm(2, 6, eps=1e-6).requires_grad_(False)
    norm.weight.copy_(torch.randn(6))
    norm.bias.copy_(torch.randn(6))
    clip = (torch.randn(2, 6, 4, 9, 7) + 300 * (dtype == torch.float32)).to(dtype)
    expected = F.group_norm(clip.double(), 2, norm.weight.double(), norm.bias.double(), 1e-6)
    for i, frame in enumerate(norm.to(dtype).frames(clip)):
        assert frame.dtype == dtype
        torch.testing.assert_close(frame.double(), expected[:, :, i], rtol=0.01, atol=1e-3 if dtype == torch.float32 else 0.02)
        clip[:, :, i] = 0
