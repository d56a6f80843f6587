"""How long the spline editor takes to draw everything: 50 tracks of 20 points at 1024 x 1024, in headless chromium.

    python benchmarks/editor.py [--runs 5] [--web OTHER_CHECKOUT/web ...]

Each run draws 41 times with the view zoomed and moved a little every time, so that nothing that is drawn can be taken
from the last time. A browser only notes what is to be drawn until someone looks: after each drawing a pixel of both
layers is read back, and the clock stops when it is there. Without a graphics card the drawing happens in the thread
that runs the page, so the processor time of that thread says the same where other programs hold up the clock. Chromium
sets the priority of its pages itself; here they get that of this process (`nice -n -10`, as root, for short).
Checkouts are measured in turns. It needs chromium, playwright and psutil, as the tests do.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import psutil
from conftest import CHROMIUM_FLAGS, find_chromium
from editor_page import WEB, Page, served
from playwright.sync_api import sync_playwright

DRAWS = 41
DRAW = """([what, count]) => {
    const layers = [stage.back, stage.front].map(layer => layer.getContext('2d'))
    const { x, y, scale } = stage.view
    const text = JSON.stringify(ed.document)
    ed.selectTracks(what === 'drag' ? ['t1'] : [])
    stage.viewport = null
    stage.draw()
    const times = []
    for (let i = 0; i < count; i++) {
        if (what === 'drag') ed.move(1, 1)
        else stage.setViewport({ x: x + 0.37 * (i % 7), y: y - 0.23 * (i % 5), scale: scale * (1 - 0.003 * (i % 11)) })
        if (what === 'load') ed.load(text + ' '.repeat(i + 1))
        const before = performance.now()
        stage.draw()
        for (const layer of layers) layer.getImageData(0, 0, 1, 1)
        times.push(performance.now() - before)
    }
    stage.viewport = null
    return times
}"""
KINDS = {
    "full": "full redraw, zoomed and moved",
    "load": "the same, of a document that was just read",
    "drag": "one track dragged",
}
log = logging.getLogger("benchmarks.editor")


class Subject:
    """The page of one checkout in a browser of its own, and what was measured of it."""

    def __init__(self, playwright, web, stack):
        address = stack.enter_context(served(web))
        browser = playwright.chromium.launch(executable_path=find_chromium(), headless=True, args=CHROMIUM_FLAGS)
        stack.callback(browser.close)
        self.web = web
        self.page = Page(browser, address)
        self.page.page.set_viewport_size({"width": 1600, "height": 1300})
        self.page.load_fifty()
        self.page.page.wait_for_timeout(500)
        self.tools = self.page.page.context.new_cdp_session(self.page.page)
        self.tools.send("Performance.enable")
        self.clock = {kind: [] for kind in KINDS}
        self.processor = {kind: [] for kind in KINDS}

    def thread_seconds(self) -> float:
        """Processor time of the thread that runs the page."""
        metrics = self.tools.send("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "ThreadTime")

    def draw(self, kind) -> list[float]:
        return self.page.page.evaluate(DRAW, [kind, DRAWS])

    def measure(self, kind):
        raise_pages()
        before = self.thread_seconds()
        self.clock[kind] += self.draw(kind)
        self.processor[kind].append((self.thread_seconds() - before) * 1000 / (DRAWS + 1))

    def report(self, kind):
        clock = sorted(self.clock[kind])
        log.info("%s: %.1f ms (median of %d, shortest %.1f); processor %.1f ms", KINDS[kind], statistics.median(clock),
                 len(clock), clock[0], statistics.median(self.processor[kind]))  # fmt: skip


def raise_pages():
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # gone, or not allowed
            if "--type=renderer" in process.cmdline():
                process.nice(os.getpriority(os.PRIO_PROCESS, 0))


def main():
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--web", type=Path, nargs="+", default=[WEB], help="web folders of the checkouts to measure")
    options = parser.parse_args()
    with sync_playwright() as playwright, contextlib.ExitStack() as stack:
        subjects = [Subject(playwright, web, stack) for web in options.web]
        for kind in KINDS:
            for subject in subjects:
                subject.draw(kind)
            for _ in range(options.runs):
                for subject in subjects:
                    subject.measure(kind)
        for subject in subjects:
            side = subject.page.page.evaluate("() => Math.round(1024 * stage.view.scale)")
            log.info("%s, canvas %d px wide on the screen:", subject.web, side)
            for kind in KINDS:
                subject.report(kind)
        log.info("%d cores, load %.1f", os.cpu_count(), os.getloadavg()[0])


if __name__ == "__main__":
    main()
