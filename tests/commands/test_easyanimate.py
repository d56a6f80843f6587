"""EasyAnimate's models from the command line."""

from __future__ import annotations

import pytest
import torch
from comfyui_trajectory.commands.files import read_video, write_image, write_video

from ..tiny_easyanimate import TEXT_FILE, VAE_FILE, transformer_file, write_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("models"))


@pytest.fixture
def generate(run, folder, tmp_path, monkeypatch):
    """generate(variant, *options) -> (exit code, what was said of a fault); pictures and a video lie ready."""
    monkeypatch.setenv("TRAJECTORY_MODELS", str(folder))
    write_image(tmp_path / "a.png", torch.rand(32, 48, 3))
    write_image(tmp_path / "mask.png", torch.ones(32, 48, 3))
    write_video(tmp_path / "v.mp4", torch.rand(6, 32, 48, 3), 8)

    def call(variant, *options):
        code, _, err = run(
            "generate", "-q", "--model", transformer_file(variant), "--vae", VAE_FILE, "--text-encoder", TEXT_FILE,
            "--steps", 1, *options,
        )  # fmt: skip
        return code, err

    return call


@pytest.mark.parametrize(
    "variant, options",
    [
        ("t2v", ("--image", "none", "--tracks", "none", "--prompt", "a dog", "--step-cache", 0.1)),
        ("t2v", ("--image", "none", "--video", "v.mp4", "--denoise", 0.5, "--cfg-rescale", 0.7)),
        ("inp", ("--image", "a.png", "--end-image", "a.png", "--image-noise-seed", 3)),
        ("inp", ("--image", "none", "--video", "v.mp4", "--mask", "mask.png")),
        ("control", ("--image", "a.png", "--tracks", "[[10, 10], [40, 30]]")),
        ("control", ("--image", "none", "--control-video", "v.mp4")),
        ("camera", ("--image", "none", "--camera", "Pan Left + Zoom In, Orbit Up")),
    ],
)
def test_generate_makes_a_video_with_every_variant(generate, tmp_path, variant, options):
    code, err = generate(variant, *options)
    assert code == 0, err
    frames, fps = read_video(tmp_path / "output" / "video.mp4")
    assert frames.shape[0] == 5 and fps == 8


@pytest.mark.parametrize(
    "variant, options, said",
    [
        ("camera", ("--camera", "Pan Left, Fly"), "'Fly' is neither a file nor a move"),
        ("t2v", ("--tracks", "none", "--denoise", 0.5), "denoise below 1"),
        ("control", ("--camera", "Pan Left"), "Control-Camera"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(generate, variant, options, said):
    code, err = generate(variant, "--image", "none", *options)
    assert code == 1 and said in err and err.startswith("error: ") and err.count("\n") == 1
