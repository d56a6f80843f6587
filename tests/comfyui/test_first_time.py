"""A first-time user's path as the README has it, in a ComfyUI that has nothing but the pack: open the template, press
Run, see a video. Every click is counted; `path.txt` beside the screenshots tells them and the waits."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import pytest
from comfyui.conftest import NO_HOST
from comfyui.frontend import Frontend
from comfyui.host import PACK, Host

PACK_NAME = re.compile(PACK)


@pytest.fixture
def clean_host(tmp_path):
    if not os.environ.get("COMFYUI_PATH"):
        pytest.skip(NO_HOST)
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    with Host(Path(os.environ["COMFYUI_PATH"]), python, tmp_path / "clean", os.environ.get("COMFYUI_FRONTEND")) as host:
        yield host


def test_from_an_empty_comfyui_to_a_video_in_four_clicks(clean_host, browser, tmp_path):
    told, began = [], time.monotonic()

    def click(locator, what: str):
        locator.first.click(timeout=60_000)
        told.append(f"{time.monotonic() - began:6.1f} s  click {len(told) + 1}: {what}")

    with Frontend(browser, clean_host, "classic") as page:
        began = time.monotonic()
        screen = page.page
        click(screen.get_by_role("button", name=re.compile("templates", re.I)), "Templates")
        click(screen.get_by_text(PACK_NAME), PACK)
        screen.wait_for_timeout(1500)
        page.look(tmp_path / "templates.png")
        click(screen.get_by_text(re.compile("^ati.embedded$", re.I)), "ati_embedded")
        screen.wait_for_function("() => window.app.graph._nodes.some(node => node.type === 'TrajectorySampler')")
        screen.wait_for_timeout(1500)
        page.look(tmp_path / "opened.png")
        prompt_id = page.press_run()
        told.append(f"{time.monotonic() - began:6.1f} s  click {len(told) + 1}: Run")
        entry = clean_host.wait(prompt_id, seconds=900)
        told.append(f"{time.monotonic() - began:6.1f} s  the video is there")
        assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
        page.fit()
        screen.wait_for_timeout(3000)
        page.look(tmp_path / "video.png")
        (tmp_path / "path.txt").write_text("\n".join(told) + "\n")
        assert len(told) == 5, told
        assert [file.suffix for file in clean_host.saved(entry)] == [".mp4"]
        assert screen.locator("video").count() >= 1, "the video is not shown"
        assert page.faults == []
