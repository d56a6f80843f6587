"""Fixtures for the tests in a real ComfyUI: the host, started once, and a browser looking at it.

COMFYUI_PATH names the checkout, COMFYUI_PYTHON the Python that has its requirements (default: this one),
COMFYUI_FRONTEND another build of the frontend (default: the installed package). Without the first, all are skipped.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from comfyui.host import Host
from PIL import Image
from tiny import FILES, write_tiny

NO_HOST = "tests in a real ComfyUI: not run; set COMFYUI_PATH to a checkout (and COMFYUI_PYTHON to its Python)"


def pytest_terminal_summary(terminalreporter):
    if not os.environ.get("COMFYUI_PATH"):
        terminalreporter.write_line(NO_HOST)


@pytest.fixture(scope="session")
def host(tmp_path_factory):
    checkout = os.environ.get("COMFYUI_PATH")
    if not checkout:
        pytest.skip(NO_HOST)
    if not (Path(checkout) / "main.py").is_file():
        pytest.fail(f"COMFYUI_PATH={checkout} is not a ComfyUI checkout: it has no main.py")
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    base = tmp_path_factory.mktemp("comfyui")
    write_files(base)
    with Host(Path(checkout), python, base, os.environ.get("COMFYUI_FRONTEND")) as host:
        yield host


def write_files(base: Path):
    """The tiny model and a picture where a user would put them, and two files that are not what they should be."""
    models = write_tiny(base / "models")
    shutil.copy(models / "text_encoders" / FILES["text_encoders"], models / "vae" / "not_a_vae.safetensors")
    whole = (models / "diffusion_models" / FILES["diffusion_models"]).read_bytes()
    (models / "diffusion_models" / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (base / "input").mkdir()
    gradient = Image.linear_gradient("L").resize((32, 32))
    Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180))).save(base / "input" / "picture.png")
