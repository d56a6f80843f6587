"""The flow field that Tora is shown, and its colours."""

from __future__ import annotations

import pytest
import torch
from comfyui_trajectory.trajectory import Tracks, TracksError
from comfyui_trajectory.trajectory import flow
from comfyui_trajectory.trajectory.flow import flow_colours, flow_of_tracks, flow_of_video, flow_pixels, flow_video


def tracks_of(*paths, visible=None) -> Tracks:
    path = torch.tensor(paths, dtype=torch.float32).transpose(0, 1)
    return Tracks(path, torch.ones(path.shape[:2]) if visible is None else torch.tensor(visible).T)


def brute_force(path: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """One whole-pixel track, by OpenCV's filter with its 99 x 99 kernel as the release calls it."""
    import cv2
    import numpy as np

    reach = np.arange(-49, 50)
    kernel = np.exp(-0.5 * (reach[:, None] ** 2 + reach**2) / 10**2)
    field = np.zeros((len(path), height, width, 2), np.float32)
    for i, (here, after) in enumerate(zip(path[:-1].int().tolist(), path[1:].int().tolist())):
        field[i + 1, here[1], here[0]] = np.subtract(after, here)
        field[i + 1] = cv2.filter2D(field[i + 1], -1, kernel)
    return torch.from_numpy(field).permute(0, 3, 1, 2)


@pytest.mark.parametrize("size", [(120, 70), (33, 20), (8, 200), (1, 1)])
def test_whole_pixels_give_what_opencvs_filter_gives_also_on_tiny_frames(size):
    width, height = size
    path = torch.randint(0, 10**6, (5, 2), generator=torch.Generator().manual_seed(0)) % torch.tensor([width, height])
    field = flow_of_tracks(tracks_of(path.tolist()), width, height)
    expected = brute_force(path, width, height)
    torch.testing.assert_close(field, expected, rtol=1e-4, atol=1e-4 * max(1, expected.abs().max().item()))


def test_parts_of_a_pixel_move_the_flow_by_as_much():
    def middle(x: float) -> float:
        field = flow_of_tracks(tracks_of([[x, 40], [x + 5, 40]]), 128, 80)[1, 0]
        return (field.sum(0) * torch.arange(128)).sum().item() / field.sum().item()

    assert middle(60.25) - middle(60) == pytest.approx(0.25, abs=1e-3)


def test_a_point_on_the_edge_acts_and_one_beyond_it_does_not():
    for edge in ([100.0, 30.0], [0.0, 60.0], [100.0, 60.0], [0.0, 0.0]):
        field = flow_of_tracks(tracks_of([edge, [50, 30]]), 100, 60)
        assert field[1].abs().max() > 1 and field.isfinite().all()
    for beyond in ([100.5, 30], [-0.5, 30], [50, 61], [-5, -5]):
        assert flow_of_tracks(tracks_of([beyond, [50, 30]]), 100, 60).abs().max() == 0
    leaving = flow_of_tracks(tracks_of([[50, 30], [120, 30], [150, 30]]), 100, 60)
    assert leaving[1, 0].max() == pytest.approx(70, rel=0.01) and leaving[2].abs().max() == 0


def test_objects_that_meet_do_not_erase_each_other():
    one, other = [[40, 30], [50, 30]], [[40, 30], [40, 42]]
    both = flow_of_tracks(tracks_of(one, other), 80, 60)
    torch.testing.assert_close(both, flow_of_tracks(tracks_of(one), 80, 60) + flow_of_tracks(tracks_of(other), 80, 60))
    assert both[1, :, 30, 40].tolist() == pytest.approx([10, 12], rel=1e-3)


def test_a_point_that_is_not_seen_adds_nothing():
    path = [[40, 30], [50, 30], [60, 30]]
    field = flow_of_tracks(tracks_of(path, visible=[[True, False, True]]), 80, 60)
    assert field[1].abs().max() > 1 and field[2].abs().max() == 0


def test_many_tracks_are_dealt_with_in_parts_of_bounded_size(monkeypatch):
    tracks = Tracks(torch.rand(9, 50, 2) * 60, torch.ones(9, 50))
    whole = flow_of_tracks(tracks, 60, 60)
    monkeypatch.setattr(flow, "MOST", 50 * 120 * 3)
    torch.testing.assert_close(flow_of_tracks(tracks, 60, 60), whole)


def test_colours_say_direction_and_share_one_scale_over_the_clip():
    field = torch.zeros(3, 2, 4, 4)
    field[1, 0, 0, 0], field[1, 0, 0, 1], field[2, 1, 0, 0] = 10.0, -10.0, 5.0
    colours = flow_colours(field)
    assert (colours[0] == 255).all() and (colours[1, :, 1:] == 255).all()
    assert colours[1, :, 0, 0].tolist() == [255, 0, 0], "to the right is red"
    left, half = colours[1, :, 0, 1].int(), colours[2, :, 0, 0].int()
    assert left[2] > left[0] and half.min() >= 120, "half the longest step is half as strong"


@pytest.mark.parametrize("size", [(300, 200), (40, 60), (7, 1)])
@pytest.mark.parametrize("count", [1, 4, 17])
def test_a_few_tracks_give_the_colours_of_their_field_though_only_what_is_near_them_is_computed(size, count):
    generator = torch.Generator().manual_seed(count)
    path = torch.rand(6, count, 2, generator=generator) * torch.tensor(size) * 1.2 - 5
    tracks = Tracks(path, torch.rand(6, count, generator=generator) > 0.2)
    expected = flow_pixels(flow_colours(flow_of_tracks(tracks, *size)))
    video = flow_video(tracks, *size)
    assert video.shape == (1, 3, 6, size[1], size[0])
    assert (video - expected).abs().max() < 1.01 / 127.5 and (video != expected).float().mean() < 1e-3
    assert (flow_video(tracks.resample(1), *size) == 1).all()


def test_no_movement_is_white():
    assert (flow_colours(flow_of_tracks(tracks_of([[20, 20]] * 5), 40, 40)) == 255).all()


def test_no_size_is_an_error():
    with pytest.raises(TracksError, match="0x40"):
        flow_of_tracks(tracks_of([[1, 1], [2, 2]]), 0, 40)


def test_the_flow_of_a_video_is_how_its_pixels_move():
    generator = torch.Generator().manual_seed(0)
    picture = torch.nn.functional.interpolate(
        torch.rand(1, 3, 24, 32, generator=generator), size=(96, 128), mode="bicubic"
    )
    frames = torch.stack([picture[0].roll((2 * i, 3 * i), (1, 2)) for i in range(3)]).permute(0, 2, 3, 1).clamp(0, 1)
    field = flow_of_video(frames)
    inside = field[:, :, 24:-24, 24:-24]
    assert field.shape == (3, 2, 96, 128) and field[0].abs().max() == 0
    assert inside[1:].median(-1)[0].median(-1)[0].flatten().tolist() == pytest.approx([3, 2, 3, 2], abs=0.3)
    with pytest.raises(TracksError, match="A video is"):
        flow_of_video(frames[0])
