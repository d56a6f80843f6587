"""The editor's page in a browser, for tests and benchmarks: served from the pack's folder, used with pointer and
keys."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import math
import threading
from pathlib import Path

WEB = Path(__file__).resolve().parents[1] / "web"
SLOW = 120_000  # milliseconds that a busy machine may take


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder: Path = WEB):
    """The address of the page of the pack whose web folder it is, while it is served."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/editor/standalone.html"
    server.shutdown()


class Page:
    """The editor's page. `at` turns places of the canvas into places of the window."""

    def __init__(self, browser, address, ratio=1):
        self.faults = []
        context = browser.new_context(viewport={"width": 1280, "height": 800}, device_scale_factor=ratio)
        self.page = context.new_page()
        self.page.set_default_timeout(SLOW)
        self.page.on("pageerror", lambda error: self.faults.append(error.stack))
        self.page.goto(address)
        self.page.wait_for_function("() => window.splineEditor")
        self.page.evaluate("async () => { window.ed = (await window.splineEditor).editor; "
                           "window.stage = (await window.splineEditor).overlay.surface.stage; }")  # fmt: skip

    def at(self, x, y):
        place = self.page.evaluate(
            "([x, y]) => { const { left, top } = stage.element.getBoundingClientRect(); const v = stage.view; "
            "return [left + x * v.scale + v.x, top + y * v.scale + v.y]; }", [x, y])  # fmt: skip
        return place

    def click(self, x, y, **options):
        self.page.mouse.click(*self.at(x, y), **options)

    def drag(self, *places):
        self.page.mouse.move(*self.at(*places[0]))
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*self.at(*place))
        self.page.mouse.up()

    def press(self, key):
        self.page.keyboard.press(key)

    @property
    def document(self):
        return json.loads(self.page.evaluate("() => JSON.stringify(ed.document)"))

    def points(self, track=0):
        return [(round(point["x"]), round(point["y"])) for point in self.document["tracks"][track]["points"]]

    def load_fifty(self):
        """50 tracks of 20 points at 1024 x 1024."""
        places = [
            [(20 + 50 * k + 7 * math.sin(i + k), 10 + 20 * i + 15 * math.cos(i * k)) for k in range(20)]
            for i in range(50)
        ]
        tracks = [{"points": [{"x": x, "y": y} for x, y in track]} for track in places]
        document = {"canvas": {"width": 1024, "height": 1024}, "tracks": tracks}
        self.page.evaluate("text => ed.load(text)", json.dumps(document))
