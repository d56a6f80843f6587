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
