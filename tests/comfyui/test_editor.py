"""The spline editor in ComfyUI's frontend, in both renderers: drawn, timed, undone, reloaded, copied, resized, run.

Screenshots lie in the tests' temporary folder (pytest --basetemp=DIR keeps them in a place of choice).
"""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from comfyui.frontend import Frontend

from comfyui_trajectory.trajectory import Tracks, read_tracks, write_tracks

EDITOR = "app.graph._nodes.find(node => node.type === 'TrajectorySplineEditor')"
WAIT = 60_000  # milliseconds
DRAWN = [(8.0, 24.0), (16.0, 8.0), (24.0, 24.0)]  # in a picture of 32 x 32
COMPACT, OVERLAY = ".tse-compact", ".tse-overlay"
GIVE_FILES = """([place, kind, files]) => {
    const data = new DataTransfer()
    for (const [name, type, text] of files) {
        data.items.add(new File([Uint8Array.from(atob(text), c => c.charCodeAt(0))], name, {type}))
    }
    const init = {bubbles: true, cancelable: true}
    const event = kind === 'paste' ? new ClipboardEvent('paste', {...init, clipboardData: data})
        : new DragEvent('drop', {...init, dataTransfer: data})
    document.querySelector(place).dispatchEvent(event)
}"""


def node(id, kind, place, size, values, inputs=(), outputs=()):
    """A node of a saved workflow. inputs: (name, type, link or None); outputs: (name, type, links)."""
    return {
        "id": id, "type": kind, "pos": place, "size": size, "flags": {}, "order": id - 1, "mode": 0, "properties": {},
        "widgets_values": values, "inputs": [{"name": name, "type": kind, "link": link} for name, kind, link in inputs],
        "outputs": [{"name": name, "type": kind, "links": links} for name, kind, links in outputs],
    }  # fmt: skip


def editor_node(state: str, link: int | None) -> dict:
    outputs = [("tracks", "TRACKS", [2]), ("coordinates", "STRING", None), ("overlay", "IMAGE", None)]
    return node(
        2, "TrajectorySplineEditor", [320, 100], [520, 640], [0, 0, 9, 8, state], [("image", "IMAGE", link)], outputs
    )


def graph(nodes: list, links: list) -> dict:
    return {
        "last_node_id": 9,
        "last_link_id": 9,
        "nodes": nodes,
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def save_node() -> dict:
    tracks, path = [("tracks", "TRACKS", 2)], [("path", "STRING", None)]
    return node(3, "TrajectorySaveTracks", [880, 100], [300, 150], ["tracks/drawn", "json"], tracks, path)


def workflow(state: str = "") -> dict:
    """A loaded picture, the editor, and a file of its tracks."""
    picture = node(
        1,
        "LoadImage",
        [20, 100],
        [270, 314],
        ["picture.png", "image"],
        (),
        [("IMAGE", "IMAGE", [1]), ("MASK", "MASK", None)],
    )
    links = [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "TRACKS"]]
    return graph([picture, editor_node(state, 1), save_node()], links)


def without_picture(state: str = "") -> dict:
    return graph([editor_node(state, None), save_node()], [[2, 2, 0, 3, 0, "TRACKS"]])


def computed_picture() -> dict:
    """The picture is one that no file holds: it is there when the graph has run."""
    tracks, seen = [("tracks", "TRACKS", [4])], [("images", "IMAGE", [1])]
    nodes = [
        node(4, "TrajectoryFromCoordinates", [20, 100], [270, 200], ["[[4, 4], [40, 20]]", 48, 24, 3, 0.0], (), tracks),
        node(5, "TrajectoryPreview", [20, 400], [270, 200], [], [("tracks", "TRACKS", 4)], seen),
        editor_node("", 1), save_node(),
    ]  # fmt: skip
    return graph(nodes, [[4, 4, 0, 5, 0, "TRACKS"], [1, 5, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "TRACKS"]])


class Drawing(Frontend):
    """The page with a workflow on it, at a zoom of the graph."""

    def open(self, content: dict | None = None, zoom: float = 1.0):
        self.page.set_default_timeout(WAIT)
        self.page.evaluate("graph => app.loadGraphData(graph)", content or workflow())
        self.page.wait_for_selector(f"{COMPACT} .tse-stage canvas")
        self.scale(zoom)
        self.page.wait_for_function("() => document.querySelector('.tse-compact .tse-stage')?.clientHeight > 100")
        return self

    def scale(self, zoom: float):
        self.page.evaluate("""zoom => {
            app.canvas.ds.scale = zoom
            app.canvas.ds.offset = [40, 20]
            app.canvas.setDirty(true, true)
        }""", zoom)  # fmt: skip
        self.page.wait_for_timeout(600)

    @property
    def value(self) -> str:
        return self.page.evaluate(f"() => {EDITOR}.widgets.find(widget => widget.name === 'editor_state').value")

    @property
    def document(self) -> dict:
        return json.loads(self.value)

    @property
    def points(self) -> list[list[tuple[float, float]]]:
        return [[(point["x"], point["y"]) for point in track["points"]] for track in self.document["tracks"]]

    def draw(self, places=DRAWN, root=COMPACT, side=32):
        """Clicks at places of the square picture, which is fitted into the stage with a margin (viewport.js: fit)."""
        box = self.page.locator(f"{root} .tse-stage").bounding_box()
        factor = box["width"] / self.page.evaluate(f"() => document.querySelector('{root} .tse-stage').offsetWidth")
        margin = (8 if root == COMPACT else 32) * factor
        scale = min(box["width"] - 2 * margin, box["height"] - 2 * margin) / side
        left, top = box["x"] + (box["width"] - side * scale) / 2, box["y"] + (box["height"] - side * scale) / 2
        for x, y in places:
            self.page.mouse.click(left + x * scale, top + y * scale)
        self.page.keyboard.press("Enter")

    def open_overlay(self):
        self.page.locator(COMPACT).get_by_text("Open editor").click()
        self.page.wait_for_selector(OVERLAY)
        self.page.wait_for_timeout(300)

    def close_overlay(self):
        self.page.locator(OVERLAY).get_by_text("Done").click()
        self.page.wait_for_function("() => !document.querySelector('.tse-overlay')")

    def give(self, place: str, kind: str, *files):
        """Pastes or drops files: (name, type, bytes)."""
        files = [[name, type, base64.b64encode(content).decode()] for name, type, content in files]
        self.page.evaluate(GIVE_FILES, [place, kind, files])

    def until(self, condition: str):
        """Waits until a condition on `d`, the document in the widget, holds."""
        self.page.wait_for_function(f"""() => {{
            const text = {EDITOR}?.widgets.find(widget => widget.name === 'editor_state').value
            const d = text ? JSON.parse(text) : {{tracks: [], canvas: {{}}}}
            return {condition}
        }}""")

    def canvas_key(self, keys: str):
        """A key for the graph, not for the editor."""
        self.page.mouse.click(1300, 800)
        self.page.keyboard.press(keys)


def close_to(found, expected, pixels=0.5):
    assert len(found) == len(expected)
    assert all(abs(a - b) < pixels for one, other in zip(found, expected) for a, b in zip(one, other)), (
        found,
        expected,
    )


@pytest.fixture(scope="module", params=["classic", "nodes 2.0"])
def page(request, browser, editor_host):
    with Drawing(browser, editor_host, request.param) as page:
        yield page
        assert page.faults == []


@pytest.fixture
def shots(tmp_path, page):
    return lambda name: page.look(tmp_path / f"{name}-{page.renderer.replace(' ', '-')}.png")


@pytest.mark.parametrize("zoom", [1.0, 0.6])
def test_clicks_in_the_node_draw_where_they_are_seen(page, zoom, shots):
    page.open(zoom=zoom)
    page.draw()
    shots("drawn")
    close_to(page.points[0], DRAWN)
    assert page.document["canvas"] == {"width": 32, "height": 32}


def test_the_side_panel_leaves_the_editor_as_wide_as_its_node(page, shots):
    """It opens with the first click, which chooses the node, and shows the node's widgets once more."""
    setting = """async open => {
        try { await app.extensionManager.setting.set('Comfy.RightSidePanel.IsOpen', open) } catch { return false }
        return true
    }"""
    if not page.page.evaluate(setting, True):
        pytest.skip("this frontend has no side panel")
    try:
        page.open()
        before = page.page.locator(f"{COMPACT} .tse-stage").bounding_box()
        page.draw(DRAWN[:1])
        page.page.wait_for_timeout(700)
        shots("panel")
        assert page.page.locator(f"{COMPACT} .tse-stage").bounding_box() == before
        page.draw([(4.0, 4.0), (28.0, 4.0), (28.0, 28.0)])
        close_to(page.points[1], [(4.0, 4.0), (28.0, 4.0), (28.0, 28.0)])
    finally:
        page.page.evaluate(setting, False)


def test_keys_undo_redo_and_delete_in_the_drawing_and_never_in_the_graph(page):
    page.open()
    page.draw()
    page.page.keyboard.press("Control+z")
    page.page.wait_for_timeout(800)
    close_to(page.points[0], DRAWN[:2])
    page.page.keyboard.press("Control+Shift+z")
    close_to(page.points[0], DRAWN)
    page.page.keyboard.press("Control+a")
    page.page.keyboard.press("Delete")
    page.page.wait_for_timeout(500)
    assert page.document["tracks"] == []
    assert page.page.evaluate("() => app.graph._nodes.length") == 3


def test_undo_of_the_graph_takes_the_drawing_back_too(page):
    page.open()
    page.draw(DRAWN[:1])
    page.page.wait_for_timeout(500)
    page.draw([(4.0, 4.0)])
    page.page.wait_for_timeout(500)
    assert len(page.points) == 2
    page.canvas_key("Control+z")
    page.until("d.tracks.length === 1")
    assert page.page.evaluate("() => app.graph._nodes.length") == 3


def test_what_is_drawn_and_timed_in_the_overlay_is_in_the_node(page, shots):
    page.open()
    page.open_overlay()
    page.draw(root=OVERLAY)
    lane = page.page.locator(f"{OVERLAY} .tse-lane").bounding_box()
    middle = lane["y"] + lane["height"] / 2
    page.page.mouse.move(lane["x"] + lane["width"] - 2, middle)
    page.page.mouse.down()
    page.page.mouse.move(lane["x"] + lane["width"] / 2, middle, steps=4)
    page.page.mouse.up()
    page.page.locator(f"{OVERLAY} .tse-choice", has_text="Even").click()
    page.page.locator(".tse-menu button", has_text="Slow end").click()
    shots("overlay")
    page.close_overlay()
    close_to(page.points[0], DRAWN)
    timing = page.document["tracks"][0]["timing"]
    assert (timing["start"], timing["end"], timing["curve"]) == (0, 4, "ease-out")
    tracks = Tracks.from_editor(page.value, frames=9)
    assert (tracks.path[4:, 0] == tracks.path[4, 0]).all() and (tracks.path[3, 0] != tracks.path[4, 0]).any()


def test_the_drawing_survives_saving_copying_and_api_format(page):
    page.open()
    page.draw()
    before = page.value
    page.page.evaluate("() => app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize())))")
    page.page.wait_for_selector(COMPACT)
    assert page.value == before
    assert page.prompt()["2"]["inputs"]["editor_state"] == before
    page.page.evaluate(f"""() => {{
        app.canvas.selectNodes([{EDITOR}])
        app.canvas.copyToClipboard()
        app.canvas.pasteFromClipboard()
    }}""")
    values = page.page.evaluate("""() => app.graph._nodes.filter(node => node.type === 'TrajectorySplineEditor')
        .map(node => node.widgets.find(widget => widget.name === 'editor_state').value)""")
    assert values == [before, before]


def test_the_drawing_goes_with_its_node_into_a_subgraph(page, editor_host):
    page.open()
    page.draw()
    before = page.value
    page.page.evaluate(f"() => {{ app.graph.convertToSubgraph(new Set([{EDITOR}])); }}")
    page.page.evaluate("() => app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize())))")
    page.page.wait_for_timeout(500)
    prompt = page.prompt()
    (state,) = [
        step["inputs"]["editor_state"] for step in prompt.values() if step["class_type"] == "TrajectorySplineEditor"
    ]
    assert state == before
    assert editor_host.run(prompt)["status"]["status_str"] == "success"


def test_a_node_that_is_made_larger_has_a_larger_picture_that_is_drawn_on(page, shots):
    page.open()
    before = page.page.locator(f"{COMPACT} .tse-stage").bounding_box()
    frame = page.page.evaluate(f"""() => {{
        const element = document.querySelector('.tse-compact').closest('.lg-node')
        if (element) return (({{right, bottom}}) => [right, bottom])(element.getBoundingClientRect())
        const {{pos, size}} = {EDITOR}
        const {{left, top}} = app.canvas.canvas.getBoundingClientRect()
        const [x, y] = app.canvas.ds.offset
        return [left + pos[0] + size[0] + x, top + pos[1] + size[1] + y]
    }}""")
    page.page.mouse.move(frame[0] - 4, frame[1] - 4)
    page.page.mouse.down()
    page.page.mouse.move(frame[0] + 96, frame[1] + 76, steps=5)
    page.page.mouse.up()
    page.page.wait_for_timeout(700)
    after = page.page.locator(f"{COMPACT} .tse-stage").bounding_box()
    shots("resized")
    assert abs(after["width"] - before["width"] - 100) < 12 and abs(after["height"] - before["height"] - 80) < 12, (
        before,
        after,
    )
    page.draw()
    close_to(page.points[0], DRAWN)


def test_the_node_gives_the_tracks_that_were_drawn(page, editor_host):
    page.open()
    page.draw()
    expected = Tracks.from_editor(page.value, frames=9)
    entry = editor_host.wait(page.press_run())
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    found = read_tracks(sorted((editor_host.base / "output" / "tracks").glob("drawn*.json"))[-1])
    assert found.path.shape == (9, 1, 2) and (found.path - expected.path).abs().max() < 0.01


def test_a_computed_picture_is_shown_by_a_run_that_fails_for_want_of_a_drawing(page, editor_host, shots):
    page.open(computed_picture())
    entry = editor_host.wait(page.press_run())
    assert "nothing is drawn yet" in str(entry["status"]["messages"])
    page.page.wait_for_timeout(1000)
    shots("failed")
    page.page.keyboard.press("Escape")  # the frontend's own message
    page.page.wait_for_timeout(500)
    page.draw([(24, 24)], side=48)  # the middle
    page.until("d.canvas.width === 48 && d.canvas.height === 24")
    shots("computed")
    close_to(page.points[0], [(24, 12)])


def test_track_files_are_dropped_and_drawings_pasted(page, tmp_path):
    page.open()
    path = np.linspace((4, 4), (28, 20), 9, dtype=np.float32)[:, None]
    tracks = Tracks(path, np.ones((9, 1), bool), (32, 32), 8)
    for name in ("x.npz", "x.pth"):
        page.give(f"{COMPACT} .tse-stage", "drop", (name, "", write_tracks(tmp_path / name, tracks).read_bytes()))
    page.until("d.tracks.length === 2")
    assert max(abs(a - b) for points in page.points for a, b in zip(points[-1], (28, 20))) < 0.3
    text = json.dumps({"format": "trajectory-editor-tracks", "version": 1, "frames": 9, "fps": 8,
                       "canvas": {"width": 32, "height": 32}, "tracks": [{"id": "t1", "points": [{"x": 1, "y": 2}]}]})  # fmt: skip
    page.give(f"{COMPACT} .tse-keyboard", "drop", ("pasted.json", "application/json", text.encode()))
    page.until("d.tracks.length === 3")
    assert page.points[-1] == [(1, 2)]


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_that_is_given_to_the_editor_is_its_background_after_a_reload_too(page, editor_host, way):
    page.open(without_picture())
    content = (editor_host.base / "input" / "picture.png").read_bytes()
    page.give(f"{COMPACT} .tse-keyboard", way, (f"{way}.png", "image/png", content))
    page.until("d.canvas.width === 32 && d.background?.filename")
    page.draw()
    page.page.evaluate("() => app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize())))")
    page.page.wait_for_selector(COMPACT)
    assert page.document["background"]["subfolder"] == "trajectory"
    close_to(page.points[0], DRAWN)


def test_a_broken_drawing_is_shown_and_kept_and_nothing_in_it_runs(page, shots):
    broken = '{"version": 1, "tracks": [{"name": "<img src=x onerror=bad=1><b onclick=x>", "points": "none"}]}'
    page.open(workflow(broken))
    note = page.page.locator(f"{COMPACT} .tse-note")
    note.wait_for()
    shots("broken")
    assert "points" in note.inner_text()
    assert page.page.evaluate("() => [document.querySelectorAll('.tse-note b, .tse-note img').length, window.bad]") == [
        0,
        None,
    ]
    page.draw()
    assert page.value == broken
    note.get_by_role("button").click()
    page.draw()
    close_to(page.points[0], DRAWN)


def test_another_number_of_frames_stretches_the_motion(page):
    page.open()
    page.draw()
    page.page.evaluate(f"""() => {{
        const frames = {EDITOR}.widgets.find(widget => widget.name === 'frames')
        frames.value = 17
        frames.callback?.(17)
    }}""")
    page.until("d.frames === 17 && d.tracks[0].timing.end === 16")


def test_the_theme_of_the_frontend_is_the_editors(page, shots):
    page.open()
    ground = "() => getComputedStyle(document.querySelector('.tse-compact')).backgroundColor"
    brightness = []
    for theme in ("light", "dark"):
        page.page.evaluate("name => app.extensionManager.setting.set('Comfy.ColorPalette', name)", theme)
        page.page.wait_for_timeout(500)
        shots(theme)
        page.open_overlay()
        shots(f"{theme}-overlay")
        page.close_overlay()
        numbers = page.page.evaluate(ground).removeprefix("rgb(").removesuffix(")").split(",")
        brightness.append(sum(map(float, numbers)) / 3)
    assert brightness[0] > 200 and brightness[1] < 70
