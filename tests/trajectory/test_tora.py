"""Tora's trajectory files, and what this pack does where the release loses or refuses a trajectory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from comfyui_trajectory.trajectory import Tracks, TracksError, read_tracks, write_tracks
from comfyui_trajectory.trajectory.formats import tracks_from_bytes
from comfyui_trajectory.trajectory.tora import official_processed, official_read

OFFICIAL = Path(__file__).parents[3] / "shared" / "data" / "tora"


def test_a_file_is_one_track_on_a_canvas_of_256(tmp_path):
    (tmp_path / "zigzag.txt").write_text("76, 161\n95,86\n\n 106 , 164.5 \n")
    tracks = read_tracks(tmp_path / "zigzag.txt", canvas=(720, 480))
    assert tracks.canvas == (256, 256) and tracks.path[:, 0].tolist() == [[76, 161], [95, 86], [106, 164.5]]
    assert tracks.resize(720, 480).path[0, 0].tolist() == pytest.approx([76 * 720 / 256, 161 * 480 / 256])
    assert torch.equal(tracks_from_bytes((tmp_path / "zigzag.txt").read_bytes(), "sent_1of2.txt").path, tracks.path)


def test_several_tracks_are_written_as_files_that_are_read_together(tmp_path):
    path = torch.rand(49, 3, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([720, 480])
    tracks = Tracks(path, torch.ones(49, 3), (720, 480))
    first = write_tracks(tmp_path / "objects.txt", tracks)
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"objects_{i}of3.txt" for i in (1, 2, 3)]
    assert first.name == "objects_1of3.txt"
    again = read_tracks(tmp_path / "objects_2of3.txt").resize(720, 480)
    assert again.count == 3 and (again.path - path).abs().max() <= 0.5 * 720 / 256 + 1e-3
    (tmp_path / "objects_3of3.txt").unlink()
    with pytest.raises(TracksError, match=r"objects_3of3\.txt is missing"):
        read_tracks(first)


def test_the_releases_own_reader_takes_what_is_written(tmp_path):
    track = Tracks(torch.tensor([[[10.4, 20.6]], [[-3.2, 300.0]]]), torch.ones(2, 1), (256, 256))
    text = write_tracks(tmp_path / "x.txt", track).read_text()
    points = [tuple(int(value) for value in line.strip().split(",")) for line in text.splitlines()]
    assert points == [(10, 21), (-3, 300)]


@pytest.mark.parametrize(
    "content", ["76, 161\nhere\n", "76, 161\n1, 2, 3\n", "1, 2\n1, --\n", "1, 2\n1e99, 3\n", "1, 2\n1e400, 3"]
)
def test_a_line_that_is_no_point_is_named(tmp_path, content):
    (tmp_path / "bad.txt").write_text(content)
    with pytest.raises(TracksError, match=r"bad\.txt, line 2: .* is not a point such as '76, 161'"):
        read_tracks(tmp_path / "bad.txt")


def test_one_point_and_more_points_than_frames_keep_their_ends(tmp_path):
    (tmp_path / "one.txt").write_text("100, 50\n")
    assert read_tracks(tmp_path / "one.txt", frames=49).path.unique(dim=0).tolist() == [[[100, 50]]]
    many = [(i, 2 * i) for i in range(80)]
    (tmp_path / "many.txt").write_text("".join(f"{x}, {y}\n" for x, y in many))
    tracks = read_tracks(tmp_path / "many.txt", frames=49)
    assert tracks.frames == 49 and tracks.path[-1, 0].tolist() == [79, 158]
    lost = official_processed(official_read(many, 49), 49)
    assert lost[-1] == (48, 96), "the release cuts the tail off, which is why it is not followed here"


@pytest.mark.skipif(not OFFICIAL.is_dir(), reason="the official trajectories (../shared/data/tora) are not here")
def test_the_official_trajectories_are_read_whole():
    files = [file for file in sorted(OFFICIAL.glob("*.txt")) if not file.stem.endswith("prompts")]
    assert len(files) == 9
    for file in files:
        tracks = read_tracks(file)
        assert (tracks.frames, tracks.count) == (len(file.read_text().split("\n")) - file.read_text().endswith("\n"), 1)
