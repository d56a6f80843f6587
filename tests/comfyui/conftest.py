"""Fixtures for the tests in a real ComfyUI: the host, started once, and a browser looking at it.

COMFYUI_PATH names the checkout, COMFYUI_PYTHON the Python that has its requirements (default: this one),
COMFYUI_FRONTEND another build of the frontend (default: the installed package). Without the first, only the editor is
tested, in the frontends that `make test` installs, which a small host serves (small_host.py).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from comfyui.host import Host
from comfyui_trajectory.nodes.host import PlainHost
from PIL import Image
from tiny import FILES, write_tiny
from tiny_easyanimate import write_tiny as write_tiny_easyanimate
from tiny_tora import write_tiny_tora

FRONTENDS = Path(sys.prefix) / "frontends"  # Makefile
NO_HOST = "tests in a real ComfyUI: not run; set COMFYUI_PATH to a checkout (and COMFYUI_PYTHON to its Python)"


def pytest_terminal_summary(terminalreporter):
    if not os.environ.get("COMFYUI_PATH"):
        terminalreporter.write_line(NO_HOST)


def started(base: Path, packs: Sequence[Path] = ()) -> Host:
    """A ComfyUI whose folders are below `base`, with the tiny models; skips the test where there is none."""
    checkout = os.environ.get("COMFYUI_PATH")
    if not checkout:
        pytest.skip(NO_HOST)
    if not (Path(checkout) / "main.py").is_file():
        pytest.fail(f"COMFYUI_PATH={checkout} is not a ComfyUI checkout: it has no main.py")
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    write_files(base)
    return Host(Path(checkout), python, base, os.environ.get("COMFYUI_FRONTEND"), packs)


@pytest.fixture(scope="session")
def host(tmp_path_factory):
    with started(tmp_path_factory.mktemp("comfyui")) as host:
        yield host


@pytest.fixture(scope="session")
def probed(tmp_path_factory):
    """Another ComfyUI, with the tests' own pack beside ours: probe/ says what it can do."""
    with started(tmp_path_factory.mktemp("probed"), [Path(__file__).with_name("probe")]) as host:
        yield host


@pytest.fixture
def files_of_probed(probed, monkeypatch):
    """What runs in this process finds the same model files and pictures."""
    monkeypatch.setenv("TRAJECTORY_MODELS", str(probed.base / "models"))
    monkeypatch.setenv("TRAJECTORY_DEVICE", "cpu")
    monkeypatch.setattr(PlainHost, "input_folder", lambda self: probed.base / "input")


def frontends() -> dict[str, Path]:
    """{version: static folder} of the frontends that were installed, newest first."""
    found = {path.parents[1].name: path for path in FRONTENDS.glob("*/comfyui_frontend_package/static")}
    return dict(sorted(found.items(), key=lambda item: [int(part) for part in item[0].split(".")], reverse=True))


@pytest.fixture(scope="session", params=["ComfyUI"] if os.environ.get("COMFYUI_PATH") else [*frontends()] or [None])
def editor_host(request, browser, tmp_path_factory):
    """What serves the editor in ComfyUI's frontend: a real ComfyUI where there is one, else the small host."""
    if request.param == "ComfyUI":
        yield request.getfixturevalue("host")
        return
    if request.param is None:
        pytest.skip(f"tests of the editor in ComfyUI's frontend: no frontend in {FRONTENDS}; make test installs it")
    pytest.importorskip("aiohttp")
    from comfyui.small_host import SmallHost

    base = tmp_path_factory.mktemp(f"frontend-{request.param}")
    with SmallHost(frontends()[request.param], base) as host:
        write_picture(base / "input")
        yield host


def write_picture(folder: Path):
    folder.mkdir(exist_ok=True)
    gradient = Image.linear_gradient("L").resize((32, 32))
    Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180))).save(folder / "picture.png")


def write_files(base: Path):
    """The tiny models and a picture where a user would put them, and two files that are not what they should be."""
    models = write_tiny_easyanimate(write_tiny_tora(write_tiny(base / "models")))
    shutil.copy(models / "text_encoders" / FILES["text_encoders"], models / "vae" / "not_a_vae.safetensors")
    whole = (models / "diffusion_models" / FILES["diffusion_models"]).read_bytes()
    (models / "diffusion_models" / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    write_picture(base / "input")
