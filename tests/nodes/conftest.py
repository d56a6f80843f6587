"""The tiny model, loaded once through the node classes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from comfyui_trajectory.nodes import NODE_CLASS_MAPPINGS as nodes
from comfyui_trajectory.nodes.host import host

from ..tiny import FILES, write_tiny


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("models"))


@pytest.fixture
def plain_host(tiny_folder, tmp_path, monkeypatch):
    """The host outside ComfyUI, in an empty folder, with the tiny model's files."""
    monkeypatch.setenv("TRAJECTORY_MODELS", str(tiny_folder))
    monkeypatch.setenv("TRAJECTORY_DEVICE", "cpu")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(host, "make_bar", None)
    return host


@pytest.fixture
def tiny(plain_host):
    """The tiny model's parts, a start image and a track on it."""
    loaders = (
        "TrajectoryModelLoader",
        "TrajectoryVAELoader",
        "TrajectoryTextEncoderLoader",
        "TrajectoryImageEncoderLoader",
    )
    model, vae, text_encoder, image_encoder = (
        nodes[name]().load(file)[0] for name, file in zip(loaders, FILES.values())
    )
    (image,) = nodes["TrajectoryExampleImage"]().load("flower.jpg")
    (tracks,) = nodes["TrajectoryLoadTracks"]().read("example/flower.json")
    return SimpleNamespace(
        model=model, vae=vae, text_encoder=text_encoder, image_encoder=image_encoder, image=image, tracks=tracks
    )
