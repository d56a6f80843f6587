"""The spline editor in the real frontend, in both renderers: drawn in the node and in the overlay, undone, reloaded, run."""

from __future__ import annotations

import json

import pytest
from comfyui.frontend import Frontend

from comfyui_trajectory.trajectory import Tracks, read_tracks

NODE = "app.graph._nodes.find(node => node.type === 'TrajectorySplineEditor')"
WAIT = 60_000  # milliseconds
DRAWN = [(8.0, 24.0), (16.0, 8.0), (24.0, 24.0)]  # in a picture of 32 x 32


def workflow(state: str = "") -> dict:
    """A loaded picture, the editor, and a file of its tracks."""
    image, tracks = [1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "TRACKS"]
    nodes = [
        {"id": 1, "type": "LoadImage", "pos": [20, 100], "size": [270, 314], "widgets_values": ["picture.png", "image"], "inputs": [],
         "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}, {"name": "MASK", "type": "MASK", "links": None}]},
        {"id": 2, "type": "TrajectorySplineEditor", "pos": [320, 100], "size": [520, 640], "widgets_values": [0, 0, 9, 8, state],
         "inputs": [{"name": "image", "type": "IMAGE", "link": 1}],
         "outputs": [{"name": "tracks", "type": "TRACKS", "links": [2]}, {"name": "coordinates", "type": "STRING", "links": None},
                     {"name": "overlay", "type": "IMAGE", "links": None}]},
        {"id": 3, "type": "TrajectorySaveTracks", "pos": [880, 100], "size": [300, 150], "widgets_values": ["tracks/drawn", "json"],
         "inputs": [{"name": "tracks", "type": "TRACKS", "link": 2}], "outputs": [{"name": "path", "type": "STRING", "links": None}]},
    ]  # fmt: skip
    for order, node in enumerate(nodes):
        node.update(flags={}, order=order, mode=0, properties={})
    return {"last_node_id": 3, "last_link_id": 2, "nodes": nodes, "links": [image, tracks], "groups": [], "config": {},
            "extra": {}, "version": 0.4}  # fmt: skip


class Drawing(Frontend):
    """The page with the workflow on it, at a zoom of the graph."""

    def open(self, state: str = "", zoom: float = 1.0):
        self.page.set_default_timeout(WAIT)
        self.page.evaluate("graph => app.loadGraphData(graph)", workflow(state))
        self.page.wait_for_selector(".tse-compact .tse-stage canvas")
        self.zoom(zoom)
        self.page.wait_for_function("() => document.querySelector('.tse-compact .tse-stage')?.clientHeight > 100")
        return self

    def zoom(self, zoom: float):
        self.page.evaluate("zoom => { app.canvas.ds.scale = zoom; app.canvas.ds.offset = [0, 0]; app.canvas.setDirty(true, true); }", zoom)
        self.page.wait_for_timeout(1000)

    @property
    def value(self) -> str:
        return self.page.evaluate(f"() => {NODE}.widgets.find(widget => widget.name === 'editor_state').value")

    @property
    def points(self) -> list[list[tuple[float, float]]]:
        return [[(point["x"], point["y"]) for point in track["points"]] for track in json.loads(self.value)["tracks"]]

    def draw(self, places, root=".tse-compact"):
        """Clicks at places of the 32 x 32 picture, which is fitted into the stage with a margin (viewport.js: fit)."""
        box = self.page.locator(f"{root} .tse-stage").bounding_box()
        factor = box["width"] / self.page.evaluate(f"() => document.querySelector('{root} .tse-stage').offsetWidth")
        margin = (8 if root == ".tse-compact" else 32) * factor
        scale = min(box["width"] - 2 * margin, box["height"] - 2 * margin) / 32
        left, top = box["x"] + (box["width"] - 32 * scale) / 2, box["y"] + (box["height"] - 32 * scale) / 2
        for x, y in places:
            self.page.mouse.click(left + x * scale, top + y * scale)
            self.page.wait_for_timeout(500)  # two clicks at once are a double-click
        self.page.keyboard.press("Enter")


def close_to(found, expected, pixels=0.5):
    assert len(found) == len(expected)
    assert all(abs(a - b) < pixels for one, other in zip(found, expected) for a, b in zip(one, other)), (found, expected)


@pytest.fixture(scope="module", params=["classic", "nodes 2.0"])
def page(request, browser, host):
    with Drawing(browser, host, request.param) as page:
        yield page
        assert page.faults == []


@pytest.mark.parametrize("zoom", [1.0, 0.6])
def test_clicks_in_the_node_draw_where_they_are_seen(page, zoom):
    page.open(zoom=zoom)
    page.draw(DRAWN)
    close_to(page.points[0], DRAWN)


def test_the_canvas_is_as_large_as_the_loaded_picture(page):
    page.open()
    page.draw(DRAWN)
    assert json.loads(page.value)["canvas"] == {"width": 32, "height": 32}


def test_undo_takes_back_a_point_and_never_the_graph(page):
    page.open()
    page.draw(DRAWN)
    page.page.keyboard.press("Control+z")
    page.page.wait_for_timeout(800)
    close_to(page.points[0], DRAWN[:2])
    assert page.page.evaluate("() => app.graph._nodes.length") == 3
    page.page.keyboard.press("Control+Shift+z")
    close_to(page.points[0], DRAWN)


def test_keys_in_the_editor_do_nothing_to_the_graph(page):
    page.open()
    page.draw(DRAWN)
    page.page.keyboard.press("Control+a")
    page.page.keyboard.press("Delete")
    page.page.wait_for_timeout(500)
    assert json.loads(page.value)["tracks"] == []
    assert page.page.evaluate("() => app.graph._nodes.length") == 3


def test_what_is_drawn_in_the_overlay_is_in_the_node(page):
    page.open()
    page.page.locator(".tse-compact >> text=Open editor").click()
    page.page.wait_for_selector(".tse-overlay")
    page.draw(DRAWN, ".tse-overlay")
    page.page.keyboard.press("Escape")
    page.page.keyboard.press("Escape")
    page.page.wait_for_function("() => !document.querySelector('.tse-overlay')")
    close_to(page.points[0], DRAWN)


def test_the_drawing_survives_saving_copying_and_api_format(page):
    page.open()
    page.draw(DRAWN)
    before = page.value
    page.page.evaluate("() => app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize())))")
    page.page.wait_for_selector(".tse-compact")
    assert page.value == before
    assert page.prompt()["2"]["inputs"]["editor_state"] == before
    page.page.evaluate(f"() => {{ app.canvas.selectNodes([{NODE}]); app.canvas.copyToClipboard(); app.canvas.pasteFromClipboard(); }}")
    values = page.page.evaluate("() => app.graph._nodes.filter(node => node.type === 'TrajectorySplineEditor').map(node => "
                                "node.widgets.find(widget => widget.name === 'editor_state').value)")  # fmt: skip
    assert values == [before, before]


def test_the_node_gives_the_tracks_that_were_drawn(page, host):
    page.open()
    page.draw(DRAWN)
    expected = Tracks.from_editor(page.value, frames=9)
    [file] = host.saved(host.run(page.prompt())) or sorted((host.base / "output" / "tracks").glob("drawn*.json"))[-1:]
    found = read_tracks(file)
    assert found.path.shape == (9, 1, 2)
    assert (found.path - expected.path).abs().max() < 0.01


def test_a_broken_drawing_is_shown_and_kept(page):
    broken = '{"version": 1, "tracks": [{"name": "<b onclick=x>", "points": "none"}]}'
    page.open(broken)
    note = page.page.locator(".tse-compact .tse-note")
    note.wait_for()
    assert "points" in note.inner_text()
    assert page.page.evaluate("() => document.querySelectorAll('.tse-note b').length") == 0
    page.draw(DRAWN)
    assert page.value == broken


def test_another_number_of_frames_stretches_the_motion(page):
    page.open()
    page.draw(DRAWN)
    page.page.evaluate(f"() => {{ const frames = {NODE}.widgets.find(widget => widget.name === 'frames'); frames.value = 17; frames.callback?.(17); }}")
    page.page.wait_for_function(f"() => JSON.parse({NODE}.widgets.find(widget => widget.name === 'editor_state').value).frames === 17")
    assert json.loads(page.value)["tracks"][0]["timing"]["end"] == 16
