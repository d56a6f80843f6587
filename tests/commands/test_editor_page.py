"""The page of `python -m comfyui_trajectory editor` in a browser: its own server and policy, a picture or a video."""

from __future__ import annotations

import contextlib
import json
import threading

import pytest
import torch
from comfyui_trajectory.commands.editor import make_server, open_session
from comfyui_trajectory.commands.files import write_image, write_video
from comfyui_trajectory.trajectory import read_tracks, write_tracks
from comfyui_trajectory.trajectory.tracks import Tracks
from editor_page import Page


@pytest.fixture
def open_page(browser, tmp_path):
    """open_page(file) -> the page, whose tracks are saved to drawn.json"""
    with contextlib.ExitStack() as stack:

        def start(file):
            server = make_server(open_session(file, tmp_path / "drawn.json"))
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            page = Page(browser, f"http://127.0.0.1:{server.server_address[1]}/")
            stack.callback(page.page.context.close)
            page.page.on("console", lambda line: line.type == "error" and page.faults.append(line.text))
            return page

        yield start


def shown_color(page):
    """The colour in the middle of the picture."""
    return page.page.evaluate("""() => {
        stage.draw()
        const {x, y, scale} = stage.view, {width, height} = ed.document.canvas
        const place = [x + width * scale / 2, y + height * scale / 2]
        return [...stage.back.getContext('2d').getImageData(...place, 1, 1).data].slice(0, 3)
    }""")


def test_what_is_drawn_on_a_picture_is_saved_and_there_again(open_page, tmp_path):
    picture = write_image(tmp_path / "red.png", torch.tensor([1.0, 0, 0]).expand(64, 96, 3))
    page = open_page(picture)
    page.page.wait_for_function("() => ed.picture")
    assert shown_color(page) == [255, 0, 0]
    page.click(16, 16)
    page.click(80, 48)
    page.press("Enter")
    page.page.get_by_text("Saved", exact=True).wait_for()
    tracks = read_tracks(tmp_path / "drawn.json")
    assert (tracks.frames, tracks.canvas) == (81, (96, 64))
    assert (tracks.path[[0, -1], 0] - torch.tensor([[16.0, 16], [80, 48]])).abs().max() < 1
    drawn = page.document
    page.page.reload()
    page.page.wait_for_function("async () => (await window.splineEditor)?.editor.document.tracks.length === 1")
    again = page.page.evaluate("async () => JSON.stringify((await window.splineEditor).editor.document)")
    assert json.loads(again) == drawn and page.faults == []


def test_a_video_follows_the_scrubber_and_a_track_file_is_taken(open_page, tmp_path):
    frames = torch.zeros(16, 64, 96, 3)
    frames[8:, ..., 2] = 1.0  # blue from the middle on
    page = open_page(write_video(tmp_path / "clip.mp4", frames, 8))
    page.page.wait_for_function("() => ed.picture?.duration > 0")
    assert page.document["frames"] == 16
    assert shown_color(page)[2] < 60
    page.page.evaluate("() => ed.setFrame(14)")
    page.page.wait_for_function("() => ed.picture.image.currentTime > 1 && !ed.picture.image.seeking")
    assert shown_color(page)[2] > 180
    tracks = Tracks(torch.full((16, 1, 2), 20.0), torch.ones(16, 1, dtype=torch.bool), (96, 64), 8.0)
    with page.page.expect_file_chooser() as chosen:
        page.page.evaluate("async () => (await window.splineEditor).overlay.surface.pickFiles()")
    chosen.value.set_files(write_tracks(tmp_path / "x.npz", tracks))
    page.page.wait_for_function("() => ed.document.tracks.length === 1")
    assert page.points() == [(20, 20)] and page.faults == []
