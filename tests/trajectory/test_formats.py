"""Track files: round trips, what other programs write, and files that are wrong in every way that files are."""

import io
import json
import os
import pickle

import numpy as np
import pytest
import torch
from comfyui_trajectory.trajectory import Tracks, TracksError, read_tracks, to_coordinates, write_tracks
from comfyui_trajectory.trajectory import formats


@pytest.fixture
def tracks() -> Tracks:
    generator = torch.Generator().manual_seed(0)
    path = torch.randn(121, 3, 2, generator=generator) * 300
    return Tracks(path, torch.rand(121, 3, generator=generator) > 0.2, (832, 480), 16.0)


@pytest.mark.parametrize("ending", ["json", "npz", "npy", "pth"])
def test_what_is_written_reads_back(tmp_path, tracks, ending):
    again = read_tracks(write_tracks(tmp_path / "new folder" / f"x.{ending}", tracks), canvas=(832, 480))
    assert torch.equal(again.visibility, tracks.visibility) and again.canvas == (832, 480)
    assert torch.equal(again.path, tracks.path)
    if ending in ("json", "npz"):
        assert again.fps == 16


def test_our_json_says_its_version_and_canvas(tmp_path, tracks):
    document = json.loads(write_tracks(tmp_path / "x.json", tracks).read_text())
    assert (document["format"], document["version"], document["canvas"]) == ("trajectory-tracks", 1, [832, 480])
    document["version"] = 2
    (tmp_path / "x.json").write_text(json.dumps(document))
    with pytest.raises(TracksError, match="version 2"):
        read_tracks(tmp_path / "x.json")


def test_coordinates_are_read_from_files_too(tmp_path, tracks):
    (tmp_path / "coordinates.json").write_text(to_coordinates(tracks), encoding="utf-8-sig")
    assert torch.equal(read_tracks(tmp_path / "coordinates.json").path, tracks.path)
    (tmp_path / "renamed.txt").write_text(to_coordinates(tracks))
    assert read_tracks(tmp_path / "renamed.txt", frames=17).frames == 17


@pytest.mark.parametrize("names", [
    ("pred_tracks", "pred_visibility"), ("tracks", "visibility"), ("track_path", "track_visibility"),
])  # fmt: skip
def test_archives_of_the_point_trackers_are_read(tmp_path, tracks, names):
    visibility = tracks.visibility[None, ..., None].float()
    np.savez(tmp_path / "x.npz", **{names[0]: tracks.path[None].numpy(), names[1]: visibility.numpy()})
    again = read_tracks(tmp_path / "x.npz")
    assert torch.equal(again.path, tracks.path) and torch.equal(again.visibility, tracks.visibility)


@pytest.mark.parametrize("pair", [
    ("cat_tracks", "cat_visibility"), ("tracks", "visibility"), ("pred_tracks", "pred_visibility"),
    ("cat", "cat_visibility"),
])  # fmt: skip
def test_pairs_of_arrays_are_found_by_name(tmp_path, tracks, pair):
    np.save(tmp_path / f"{pair[0]}.npy", tracks.path[None].numpy())
    assert read_tracks(tmp_path / f"{pair[0]}.npy").visibility.all()  # without the partner
    np.save(tmp_path / f"{pair[1]}.npy", tracks.visibility[None].numpy())
    assert torch.equal(read_tracks(tmp_path / f"{pair[0]}.npy").visibility, tracks.visibility)
    with pytest.raises(TracksError, match="name the one with the tracks"):
        read_tracks(tmp_path / f"{pair[1]}.npy")


def test_an_array_with_objects_is_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.system, ("touch " + str(tmp_path / "trapped"),)

    np.save(tmp_path / "x.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", tracks=np.array([Trap()], dtype=object))
    for name in ("x.npy", "x.npz"):
        with pytest.raises(TracksError, match="refused"):
            read_tracks(tmp_path / name)
    assert not (tmp_path / "trapped").exists()


def test_a_header_that_claims_terabytes_is_refused_before_memory_is_taken(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6, 2)})
    (tmp_path / "x.npy").write_bytes(header.getvalue())
    with pytest.raises(TracksError, match="at most"):
        read_tracks(tmp_path / "x.npy")


def test_an_archive_that_unpacks_beyond_reason_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("comfyui_trajectory.trajectory.arrays.MAX_BYTES", 10_000)
    np.savez_compressed(tmp_path / "x.npz", tracks=np.zeros((1000, 10, 2), np.float32))
    with pytest.raises(TracksError, match="more than"):
        read_tracks(tmp_path / "x.npz")


@pytest.mark.parametrize("content, message", [
    (b"", "empty"),
    (b"\x00\x01\x02\x03", "not a format"),
    (b"hello", "not a format"),
    (b"[", "not valid JSON"),
    (b"[\xff]", "UTF-8"),
    (b"{}", "Not a track document"),
    (b'{"format": "trajectory-tracks", "version": 1, "tracks": []}', "no tracks"),
    (b'{"format": "trajectory-tracks", "version": 1, "tracks": [{"points": [[1, NaN]]}]}', "Track 0, point 0"),
    (b'{"format": "trajectory-tracks", "version": 1, "tracks": [{"points": [[1, 2]], "visible": [1, 1]}]}', "visible"),
    (b'{"format": "trajectory-tracks", "version": 1, "tracks": [{}]}', "points"),
    (b'{"format": "trajectory-tracks", "version": 1, "frames": -3, "tracks": [{"points": [[1, 2]]}]}', "frames"),
    (b"PK\x03\x04 cut off", "npz"),
    (b"\x93NUMPY\x01\x00 cut off", "NumPy"),
])  # fmt: skip
def test_files_that_are_no_tracks_are_refused_by_name(tmp_path, content, message):
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(TracksError, match=message) as error:
        read_tracks(tmp_path / "bad.json")
    assert "bad.json" in str(error.value)


def test_a_missing_file_a_folder_and_an_unknown_ending_are_named(tmp_path, tracks):
    with pytest.raises(TracksError, match="nothing.pth: no such"):
        read_tracks(tmp_path / "nothing.pth")
    with pytest.raises(TracksError, match="folder"):
        read_tracks(tmp_path)
    with pytest.raises(TracksError, match=".json, .pth, .npz, .npy"):
        write_tracks(tmp_path / "x.mp4", tracks)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, tracks, monkeypatch):
    target = write_tracks(tmp_path / "x_tracks.npy", tracks)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("comfyui_trajectory.trajectory.files.os.replace", full)
    with pytest.raises(TracksError, match="No space left"):
        write_tracks(target, tracks.pan(5, 5))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_new_format_is_an_entry_in_the_tables(tmp_path, tracks, monkeypatch):
    monkeypatch.setitem(formats.WRITERS, ".pickle", lambda tracks, path: {path: pickle.dumps(tracks.frames)})
    assert pickle.loads(write_tracks(tmp_path / "x.pickle", tracks).read_bytes()) == 121
