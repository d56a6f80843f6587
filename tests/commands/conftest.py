"""The command line in an empty folder, with the tiny model in place of the embedded one."""

from __future__ import annotations

import pytest
from comfyui_trajectory.commands import generate
from comfyui_trajectory.commands.cli import main
from comfyui_trajectory.nodes.host import host

from ..tiny import FILES, write_tiny


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("models"))


@pytest.fixture
def run(tiny_folder, tmp_path, monkeypatch, capsys):
    """run(*arguments) -> (exit code, standard output, error output)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRAJECTORY_MODELS", str(tiny_folder))
    monkeypatch.setenv("TRAJECTORY_DEVICE", "cpu")
    monkeypatch.setattr(host, "make_bar", None)
    monkeypatch.setattr(host, "output_folder", tmp_path / "output")
    monkeypatch.setattr(generate.ModelFiles, "embedded", classmethod(lambda cls, system: cls(*FILES.values())))

    def call(*arguments) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call
