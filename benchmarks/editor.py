"""How long the spline editor takes to draw everything: 50 tracks of 20 points at 1024 x 1024, in headless chromium.

    python benchmarks/editor.py [--runs 5]

Each run draws 41 times and takes the median; the layers are read back each time, so that the drawing is done and not
only asked for. The aim is at most 8 ms on an idle machine; on a busy one only the processor time says something, which counts
all of the browser. It needs chromium, playwright and psutil, as the tests do.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import psutil
from conftest import CHROMIUM_FLAGS, find_chromium
from editor_page import Page, served
from playwright.sync_api import sync_playwright

TIMES = """what => {
    const times = []
    const layers = [stage.back, stage.front].map(layer => layer.getContext('2d'))
    ed.selectTracks(what === 'drag' ? ['t1'] : [])
    stage.draw()
    for (let i = 0; i < 41; i++) {
        if (what === 'drag') ed.move(1, 1)
        else stage.stale = { back: true, front: true }
        const before = performance.now()
        stage.draw()
        for (const layer of layers) layer.getImageData(0, 0, 1, 1)
        times.push(performance.now() - before)
    }
    return times.sort((a, b) => a - b)[20]
}"""
log = logging.getLogger("benchmarks.editor")


def processor_seconds() -> float:
    return sum(sum(process.cpu_times()[:2]) for process in psutil.Process().children(recursive=True))


def main():
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    with sync_playwright() as playwright, served() as address:
        browser = playwright.chromium.launch(executable_path=find_chromium(), headless=True, args=CHROMIUM_FLAGS)
        page = Page(browser, address)
        page.page.set_viewport_size({"width": 1600, "height": 1300})
        page.load_fifty()
        page.page.wait_for_timeout(500)
        side = page.page.evaluate("() => Math.round(1024 * stage.view.scale)")
        for what, name in (("all", "full redraw"), ("drag", "a dragged track")):
            page.page.evaluate(TIMES, what)
            before = processor_seconds()
            medians = sorted(page.page.evaluate(TIMES, what) for _ in range(runs))
            each = (processor_seconds() - before) / runs / 41 * 1000
            log.info("%s: %.1f ms (medians of %d runs: %.1f … %.1f), %.1f ms of processor time",
                     name, medians[0], runs, medians[0], medians[-1], each)  # fmt: skip
        log.info("canvas %d px wide on the screen, %d cores, load %.1f", side, os.cpu_count(), os.getloadavg()[0])
        browser.close()


if __name__ == "__main__":
    main()
