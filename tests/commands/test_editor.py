"""The editor without the graph: what its server answers, what it refuses, what it writes."""

from __future__ import annotations

import http.client
import json
import threading

import pytest
import torch
from comfyui_trajectory.commands.editor import PAGE, make_server, open_session
from comfyui_trajectory.commands.files import write_image, write_video
from comfyui_trajectory.trajectory import read_tracks, write_tracks
from comfyui_trajectory.trajectory.tracks import Tracks

STATE = json.dumps({
    "version": 1, "canvas": {"width": 48, "height": 32}, "frames": 5, "fps": 8,
    "tracks": [{"id": "t1", "name": "wing", "points": [{"x": 1, "y": 2}, {"x": 30.5, "y": 4}]}],
})  # fmt: skip


class Browser:
    """Asks the server as a page would: ask(method, path, body, **headers) -> (status, headers, body)."""

    def __init__(self, server):
        self.port = server.server_address[1]
        self.origin = f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: bytes | str | None = None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if method == "POST":
            headers = {"Origin": self.origin, **headers}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        found = answer.status, answer.headers, answer.read()
        connection.close()
        return found


@pytest.fixture
def open_page(tmp_path):
    """open_page(file, **options) -> (browser, session)"""
    running = []

    def start(file, output=None, **options):
        session = open_session(file, output or tmp_path / "drawn.json", **options)
        server = make_server(session)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        running.append(server)
        return Browser(server), session

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture
def picture(tmp_path):
    return write_image(tmp_path / "cat.png", torch.rand(32, 48, 3))


def test_the_page_its_modules_and_the_picture_are_served_with_a_strict_policy(open_page, picture):
    browser, _ = open_page(picture)
    status, headers, body = browser.ask("GET", "/")
    assert status == 200 and body == (PAGE / "standalone.html").read_bytes()
    assert "default-src 'none'" in headers["Content-Security-Policy"] and headers["X-Content-Type-Options"] == "nosniff"
    for name in ("spline.js", "document.js", "standalone.js"):
        status, headers, body = browser.ask("GET", f"/{name}")
        assert (status, headers.get_content_type(), body) == (200, "text/javascript", (PAGE / name).read_bytes())
    status, headers, body = browser.ask("GET", "/background")
    assert (status, headers.get_content_type(), body) == (200, "image/png", picture.read_bytes())
    info = json.loads(browser.ask("GET", "/info")[2])
    assert info.pop("saves_to").endswith("drawn.json")
    assert info == {"name": "cat.png", "kind": "image", "width": 48, "height": 32, "frames": 81, "fps": 16}


def test_a_drawing_is_saved_as_tracks_and_comes_back(open_page, picture, tmp_path):
    browser, _ = open_page(picture, tmp_path / "made" / "cat.pth")
    assert browser.ask("GET", "/tracks")[2] == b""
    status, _, body = browser.ask("POST", "/tracks", STATE)
    assert status == 200 and json.loads(body)["tracks"] == 1
    assert read_tracks(tmp_path / "made" / "cat.pth").frames == 121
    drawn = read_tracks(tmp_path / "made" / "cat.json")
    assert torch.equal(drawn.path, Tracks.from_editor(STATE).path) and drawn.canvas == (48, 32)
    assert browser.ask("GET", "/tracks")[2].decode() == STATE
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["cat.json", "cat.pth"]


def test_a_faulty_drawing_is_told_and_changes_no_file(open_page, picture, tmp_path):
    browser, _ = open_page(picture)
    browser.ask("POST", "/tracks", STATE)
    before = (tmp_path / "drawn.json").read_bytes()
    for body in ("", "{", "[]", STATE.replace("30.5", '"x"'), b"\xff\xfe"):
        status, _, answer = browser.ask("POST", "/tracks", body)
        assert status == 400 and json.loads(answer)["error"]
    assert (tmp_path / "drawn.json").read_bytes() == before


def test_a_drawing_whose_tracks_were_all_deleted_is_kept(open_page, picture):
    browser, _ = open_page(picture)
    empty = json.dumps({**json.loads(STATE), "tracks": []})
    assert browser.ask("POST", "/tracks", empty)[0] == 200
    assert browser.ask("GET", "/tracks")[2].decode() == empty


@pytest.mark.parametrize(
    "path",
    ["/../editor.py", "/%2e%2e/editor.py", "/..%2f..%2fREADME.md", "//etc/passwd", "/tools/../../../pyproject.toml",
     "/nothing.js", "/cat.png", "/C:/Windows/win.ini", "/standalone.html/", "/info/"],
)  # fmt: skip
def test_nothing_but_the_page_is_served(open_page, picture, path):
    browser, _ = open_page(picture)
    assert browser.ask("GET", path)[0] == 404
    assert browser.ask("POST", path, b"")[0] == 404


def test_other_sites_are_turned_away(open_page, picture, tmp_path):
    browser, _ = open_page(picture)
    assert browser.ask("GET", "/info", Host="evil.example")[0] == 403
    assert browser.ask("POST", "/tracks", STATE, Origin="http://evil.example")[0] == 403
    assert browser.ask("POST", "/tracks", STATE, Origin="null")[0] == 403
    assert browser.ask("POST", "/tracks", None, Content_Length="9" * 14)[0] == 413
    assert browser.ask("PUT", "/tracks", STATE)[0] == 501
    assert not (tmp_path / "drawn.json").exists()


def test_dropped_track_files_are_converted(open_page, picture, tmp_path):
    browser, _ = open_page(picture)
    data = write_tracks(tmp_path / "x.npz", Tracks.from_editor(STATE)).read_bytes()
    status, _, body = browser.ask("POST", "/trajectory/tracks?name=x.npz", data)
    assert status == 200 and json.loads(body)["frames"] == 5
    status, _, body = browser.ask("POST", "/trajectory/tracks?name=x.bin", b"\0")
    assert status == 400 and "x.bin" in json.loads(body)["error"]


def test_a_video_is_sent_in_the_parts_that_a_player_asks_for(open_page, tmp_path):
    video = write_video(tmp_path / "bike.mp4", torch.rand(7, 32, 48, 3), 12)
    browser, session = open_page(video)
    assert (session.frames, session.fps, session.size) == (7, 12, (48, 32))
    content = video.read_bytes()
    assert browser.ask("GET", "/background")[2] == content
    for asked, part in (("bytes=10-19", content[10:20]), ("bytes=100-", content[100:]), ("bytes=-5", content[-5:])):
        status, headers, body = browser.ask("GET", "/background", Range=asked)
        assert (status, body) == (206, part) and headers["Content-Range"].endswith(f"/{len(content)}")
    assert browser.ask("GET", "/background", Range=f"bytes={len(content)}-")[0] == 416


def test_files_that_are_not_drawings_are_never_written_over(picture, tmp_path):
    tracks = write_tracks(tmp_path / "mine.json", Tracks.from_editor(STATE))
    with pytest.raises(ValueError, match="holds no drawing"):
        open_session(picture, tracks)
    (tmp_path / "notes.json").write_text("hello")
    with pytest.raises(ValueError, match="notes.json exists, but is no track file"):
        open_session(picture, tmp_path / "notes.json")


def test_a_file_that_cannot_be_drawn_on_is_told_in_one_line(run, tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "text.mp4").write_text("hello")
    for name, message in (("text.jpg", "not a picture"), ("text.mp4", "not a video"), ("none.png", "no such picture")):
        code, out, err = run("editor", name, "--no-browser")
        assert (code, out, len(err.splitlines())) == (1, "", 1) and message in err
