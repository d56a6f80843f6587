"""The command line as a user types it: what it writes, what it says, how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import comfyui_trajectory as pack
import pytest
import torch
from comfyui_trajectory.commands import cli
from comfyui_trajectory.commands.files import read_image, read_video, write_image
from comfyui_trajectory.nodes.host import EXAMPLES

from ..tiny import FILES

ROOT = Path(pack.__file__).parent


def test_generate_without_arguments_makes_a_video_an_overlay_and_a_contact_sheet(run, tmp_path):
    code, out, err = run("generate", "--quiet", "--output", "made/here")
    assert (code, err) == (0, "")
    files = [tmp_path / line for line in out.split()]
    assert [file.name for file in files] == ["video.mp4", "overlay.mp4", "contact_sheet.png"]
    frames, fps = read_video(files[0])
    assert frames.shape == (5, 32, 32, 3) and fps == 8
    drawn, _ = read_video(files[1])
    assert len(drawn) == 5 and min(drawn.shape[1:3]) >= 384
    assert read_image(files[2]).shape[2] > 1000
    assert sorted(path.name for path in (tmp_path / "made" / "here").iterdir()) == sorted(file.name for file in files)


def test_generate_takes_a_picture_a_track_as_text_and_settings(run, tmp_path):
    write_image(tmp_path / "odd.png", torch.rand(45, 61, 3))
    code, out, err = run(
        "generate", "-q", "--image", "odd.png", "--tracks", "[[10, 10], [40, 30]]", "--size", "48x32", "--frames", 9,
        "--steps", 1, "--cfg", 1, "--expand-points", 5, "--prompt", "a dog",
    )  # fmt: skip
    assert code == 0, err
    assert read_video(tmp_path / "output" / "video.mp4")[0].shape == (9, 32, 48, 3)


def test_generate_without_tracks_draws_none(run, tmp_path):
    code, out, _ = run("generate", "-q", "--image", EXAMPLES / "flower.jpg", "--tracks", "none", "--steps", 1)
    assert code == 0 and [Path(line).name for line in out.split()] == ["video.mp4", "contact_sheet.png"]


def test_a_progress_bar_is_shown_unless_quiet(run):
    assert "sampling" in run("generate", "--steps", 1)[2]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("generate", "--image", "cat.png"), "--tracks"),
        (("generate", "--model", "big.safetensors"), "--vae"),
        (("generate", "--size", "large"), "832x480"),
        (("run", "graph.json", "--set", "seed"), "NODE.INPUT=VALUE"),
        (("nonsense",), "nonsense"),
        ((), "COMMAND"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_missing(run, arguments, said):
    code, out, err = run(*arguments)
    assert code == 2 and said in err and out == ""


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("generate", "-q", "--image", "gone.png", "--tracks", "none"), "gone.png"),
        (("generate", "-q", "--image", EXAMPLES / "flower.jpg", "--tracks", "gone.pth"), "gone.pth"),
        (("generate", "-q", "--image", EXAMPLES / "flower.jpg", "--tracks", "[[1]]"), "Track 0, point 0"),
        (("generate", "-q", "--frames", "6"), "nearest"),
        (("examples", "gone.yaml"), "gone.yaml"),
        (("run", "gone.json"), "gone.json"),
        (("info", "gone.safetensors"), "gone.safetensors"),
        (("score", "gone.mp4", "gone.json"), "gone.mp4"),
    ],
)
def test_a_failure_ends_with_1_and_one_line_that_says_why(run, tmp_path, arguments, said):
    code, out, err = run(*arguments)
    assert code == 1 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and said in err
    assert not list(tmp_path.rglob("*.mp4"))


def test_ctrl_c_ends_with_130(run, monkeypatch):
    def stop(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "generate", stop)
    assert run("generate")[0] == 130


def test_every_command_teaches_with_examples():
    for command in ("generate", "examples", "run", "info", "score"):
        help = subparser(command).format_help()
        assert "examples:\n" in help and f"python -m comfyui_trajectory {command} " in help


def subparser(command):
    actions = cli.parser()._subparsers._group_actions[0]
    return actions.choices[command]


def test_info_knows_checkpoints_and_tracks(run, tiny_folder):
    code, out, _ = run("info", tiny_folder / "diffusion_models" / FILES["diffusion_models"])
    assert code == 0 and "wan i2v diffusion model" in out and "float32" in out and "memory" in out
    code, out, _ = run("info", EXAMPLES / "flower.json", "--json")
    found = json.loads(out)
    assert (found["what"], found["tracks"], found["frames"], found["canvas"]) == ("tracks", 1, 25, [384, 384])


def test_the_folder_runs_without_being_installed(tmp_path):
    code = "import runpy, sys; sys.argv = ['x', '--help']; runpy.run_path(sys.orig_argv[-1], run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(ROOT)], capture_output=True, text=True, cwd=tmp_path
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "generate" in done.stdout


def test_a_video_of_odd_size_is_written_whole_and_reads_back(tmp_path):
    from comfyui_trajectory.commands.files import write_video

    frames = torch.zeros(3, 21, 33, 3)
    frames[..., 0] = 0.8
    write_video(tmp_path / "odd.mp4", frames, 16)
    back, fps = read_video(tmp_path / "odd.mp4")
    assert back.shape == (3, 22, 34, 3) and fps == 16
    assert (back[:, :21, :33] - frames).abs().mean() < 0.03


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    from comfyui_trajectory.commands.files import write_video

    with pytest.raises(ValueError):
        write_video(tmp_path / "bad.mp4", torch.zeros(2, 16, 16, 3), float("nan"))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def tora_files(tmp_path_factory):
    from ..tiny_tora import T2V, TEXT_FILE, VAE_FILE, write_tiny_tora

    folder = write_tiny_tora(tmp_path_factory.mktemp("tora"))
    names = {"model": f"diffusion_models/{T2V}", "vae": f"vae/{VAE_FILE}", "text-encoder": f"text_encoders/{TEXT_FILE}"}
    return [part for name, file in names.items() for part in (f"--{name}", folder / file)]


def test_generate_runs_tora_without_a_picture_with_its_own_track_files(run, tora_files, tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.txt").write_text("100, 100\n200, 150\n")
    files = ("--tracks", "one.txt", "two.txt")
    code, _, err = run("generate", "-q", "--image", "none", *files, "--prompt", "a dog", "--frames", 17, *tora_files)
    assert code == 0, err
    assert read_video(tmp_path / "output" / "video.mp4")[0].shape == (17, 32, 32, 3)
    code, _, err = run(
        "generate",
        "-q",
        "--image",
        "none",
        "--reference-video",
        tmp_path / "output" / "video.mp4",
        *tora_files,
        "--output",
        "second",
    )
    assert code == 0, err
    assert read_video(tmp_path / "second" / "video.mp4")[0].shape == (9, 32, 32, 3)


SPREADS = [((), (9, 8.0)), (("--expand-points", 5), (5, 8.0)), (("--expand-radius", 0), (9, 0.0))]


@pytest.mark.parametrize("given, expected", SPREADS)
def test_the_embedded_model_spreads_points_unless_told_otherwise(run, monkeypatch, given, expected):
    seen = []

    def stop_here(options, keep):
        seen.append((options.expand_points, options.expand_radius))
        raise ValueError("enough")

    monkeypatch.setattr(cli, "pipeline", stop_here)
    run("generate", "-q", *given)
    assert seen == [expected]


def test_too_little_memory_on_a_gpu_is_told_with_what_to_do():
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 8 GiB.")
    said = cli.one_line(error)
    assert "Tried to allocate 20.00 MiB)" in said and "--blocks-on-device" in said and "total capacity" not in said
