"""Lists in ATI's format, and the folders of ATI's demo."""

from __future__ import annotations

import pytest
import torch
from comfyui_trajectory.commands.files import read_image, read_video, write_image
from comfyui_trajectory.trajectory import Tracks, write_tracks


@pytest.fixture
def example_list(tmp_path):
    folder = tmp_path / "list"
    write_image(folder / "a.png", torch.full((90, 60, 3), 0.5))
    path = torch.stack([torch.linspace(10, 50, 121), torch.full((121,), 45.0)], dim=-1)[:, None]
    write_tracks(folder / "a.pth", Tracks(path, torch.ones(121, 1), (60, 90)))
    (folder / "test.yaml").write_text("- image: a.png\n  text: >\n    a dog\n  track: a.pth\n", "utf-8")
    return folder / "test.yaml"


def test_the_folders_of_atis_demo_are_written(run, example_list, tmp_path):
    code, out, err = run("examples", "-q", example_list, "--output", "samples", "--steps", 1)
    assert code == 0, err
    made = {
        path.relative_to(tmp_path / "samples").as_posix()
        for path in (tmp_path / "samples").rglob("*")
        if path.is_file()
    }
    assert made == {"test.yaml", "outputs/000.mp4", "outputs_vis/000_viz.mp4", "images_tracks/00.jpg"}
    assert len(read_video(tmp_path / "samples/outputs/000.mp4")[0]) == 5


def test_tracks_are_drawn_where_they_are_on_the_picture(run, example_list, tmp_path):
    run("examples", "-q", example_list, "--output", "samples", "--steps", 1)
    changed = (read_image(tmp_path / "samples/images_tracks/00.jpg")[0] - 0.5).abs().amax(-1) > 0.1
    rows, columns = changed.nonzero().T
    assert 38 < rows.float().mean() < 52 and columns.min() < 15 and columns.max() > 45


def test_videos_that_exist_are_kept_unless_overwritten(run, example_list, tmp_path):
    video = tmp_path / "samples" / "outputs" / "000.mp4"
    video.parent.mkdir(parents=True)
    video.write_bytes(b"kept")
    assert run("examples", "-q", example_list, "--output", "samples", "--steps", 1)[0] == 0
    assert video.read_bytes() == b"kept"
    assert run("examples", "-q", example_list, "--output", "samples", "--steps", 1, "--overwrite")[0] == 0
    assert video.read_bytes() != b"kept"


@pytest.mark.parametrize(
    "content, said",
    [
        ("", "a list of entries"), ("a: 1", "a list of entries"), ("- 3", "entry 0"),
        ("- image: a.png", "text is missing"),
        ("- {image: a.png, text: x, track: gone.pth}", "gone.pth"), ("{", "not a YAML list"),
    ],
)  # fmt: skip
def test_a_bad_list_is_told_before_anything_is_made(run, example_list, tmp_path, content, said):
    example_list.write_text(content, "utf-8")
    code, _, err = run("examples", "-q", example_list)
    assert code == 1 and said in err and "test.yaml" in err
    assert not (tmp_path / "samples").exists()
