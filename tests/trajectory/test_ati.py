"""ATI's track files and numbers, beyond what the golden cases hold: odd lengths, padding, and files with code
inside."""

import io
import os

import numpy as np
import pytest
import torch
from comfyui_trajectory.trajectory import Tracks, TracksError, read_tracks, write_tracks
from comfyui_trajectory.trajectory.ati import array_to_tracks, comfy_tracks, normalised, official_tracks, read_ati_array


def ati_file(path, array, key="array"):
    packed = io.BytesIO()
    np.savez_compressed(packed, **{key: array})
    torch.save(packed.getvalue(), path)
    return path


def wave(count: int = 2) -> np.ndarray:
    """[tracks, 121, 1, 3] x, y, visible."""
    t = np.linspace(0, 1, 121)
    rows = [np.stack([100 + 300 * t + 10 * i, 80 + 40 * np.sin(6 * t), np.ones_like(t)], -1) for i in range(count)]
    return np.stack(rows)[:, :, None].astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.uint16, np.float64])
def test_files_of_floats_and_of_integers_are_read(tmp_path, dtype):
    tracks = read_tracks(ati_file(tmp_path / "x.pth", (wave() * 8).astype(dtype)), canvas=(640, 480))
    assert (tracks.frames, tracks.count, tracks.canvas, tracks.fps) == (121, 2, (640, 480), 24)
    assert np.abs(tracks.path[:, :, None].numpy() - wave().transpose(1, 0, 2, 3)[..., :2]).max() <= 1 / 8
    assert tracks.visibility.all() and tracks.resample(81).fps == pytest.approx(16)


def test_a_file_of_ours_gives_the_official_reader_the_same_tracks(tmp_path):
    tracks = array_to_tracks(wave() * 8, (640, 480))
    array = read_ati_array(write_tracks(tmp_path / "x.pth", tracks))
    assert array.shape == (2, 121, 1, 3) and np.array_equal(array, wave() * 8)


def test_rows_of_zeros_at_the_end_are_padding_and_the_last_position_is_held():
    array = wave() * 8
    array[0, 60:] = 0
    tracks = array_to_tracks(array)
    assert not tracks.visibility[60:, 0].any() and tracks.visibility[:60, 0].all()
    assert (tracks.path[60:, 0] == tracks.path[59, 0]).all()


def test_both_orders_of_axes_are_told_apart():
    array = wave(3) * 8
    first = array_to_tracks(array)
    assert torch.equal(first.path, array_to_tracks(array.transpose(1, 0, 2, 3)).path)
    assert array_to_tracks(array[:, :50]).frames == 50


@pytest.mark.parametrize("frames", [1, 2, 5, 17, 81, 121, 241, 361, 77])
def test_every_frame_count_comes_out_whole(frames):
    out = comfy_tracks(wave(), (640, 480), frames)
    assert out.shape == (frames, 2, 4)
    assert torch.equal(out[0], comfy_tracks(wave(), (640, 480), 81)[0])


def test_121_frames_are_the_file_itself():
    out = comfy_tracks(wave(), (640, 480), 121)
    assert torch.equal(out, normalised(array_to_tracks(wave() * 8), 640, 480))


def test_normalised_spans_the_short_side_and_keeps_what_is_outside():
    tracks = Tracks([[[320, 240], [640, 480], [-320, 0]]] * 2, [[1, 0, 1]] * 2)
    out = normalised(tracks, 640, 480)
    assert torch.allclose(out[0, :, 1:3], torch.tensor([[0, 0], [4 / 3, 1], [-8 / 3, -1]]))
    assert out[:, 0, 0].tolist() == [-1, 1] and out[0, :, 3].tolist() == [1, -1, 1]


def test_an_array_that_is_no_track_list_is_refused():
    with pytest.raises(TracksError, match="121"):
        official_tracks(np.zeros((2, 80, 1, 3)), (640, 480))


class Trap:
    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.system, (f"touch {self.place}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_with_code_inside_is_refused_and_the_code_not_run(tmp_path, legacy):
    torch.save(Trap(tmp_path / "trapped"), tmp_path / "x.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(TracksError, match="x.pth: refused"):
        read_tracks(tmp_path / "x.pth")
    assert not (tmp_path / "trapped").exists()


def test_an_archive_with_code_inside_the_file_is_refused(tmp_path):
    ati_file(tmp_path / "x.pth", np.array([Trap(tmp_path / "trapped")], dtype=object))
    with pytest.raises(TracksError, match="refused"):
        read_tracks(tmp_path / "x.pth")
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("content, message", [
    ({"weight": torch.zeros(2)}, "dict"),
    (torch.zeros(3), "Tensor"),
    (b"no archive", "npz"),
])  # fmt: skip
def test_other_things_saved_by_torch_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(TracksError, match=message):
        read_tracks(tmp_path / "x.pth")


@pytest.mark.parametrize("array, message", [
    (np.zeros((2, 121, 3), np.float32), r"\[tracks, 121, 1, 3\]"),
    (np.zeros((0, 121, 1, 3), np.float32), "tracks"),
    (np.full((1, 121, 1, 3), np.nan, np.float32), "track 0, point 0"),
])  # fmt: skip
def test_arrays_that_are_no_tracks_are_refused(tmp_path, array, message):
    with pytest.raises(TracksError, match=message):
        read_tracks(ati_file(tmp_path / "x.pth", array))


def test_another_key_and_a_truncated_file_are_refused(tmp_path):
    with pytest.raises(TracksError, match="'array'"):
        read_tracks(ati_file(tmp_path / "x.pth", wave(), key="tracks"))
    whole = ati_file(tmp_path / "y.pth", wave()).read_bytes()
    (tmp_path / "y.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TracksError, match="y.pth"):
        read_tracks(tmp_path / "y.pth")


def test_an_archive_that_unpacks_beyond_reason_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("comfyui_trajectory.trajectory.ati.MAX_BYTES", 1000)
    with pytest.raises(TracksError, match="unpacks to"):
        read_tracks(ati_file(tmp_path / "x.pth", np.random.rand(5, 121, 1, 3).astype(np.float32)))
