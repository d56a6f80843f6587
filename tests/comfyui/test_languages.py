"""The nodes' texts in ComfyUI's own page, by its language setting. Screenshots lie in the test's temporary folder."""

from __future__ import annotations

import json

import pytest
from comfyui.frontend import Frontend
from comfyui.host import ROOT

# In the page, not in the file: what a node is called, what its inputs and outputs are called and say.
SHOWN = """type => {
    const node = window.app.graph._nodes.find(node => node.type === type)
    const named = list => Object.fromEntries(list.map(part => [part.name, part.label ?? part.localized_name]))
    return {title: node.title, widgets: named(node.widgets), inputs: named(node.inputs), outputs: named(node.outputs)}
}"""
PLACE = """([type, name]) => {
    const node = window.app.graph._nodes.find(node => node.type === type)
    const {ds, canvas} = window.app.canvas, widget = node.widgets.find(widget => widget.name === name)
    const box = canvas.getBoundingClientRect()
    return [box.left + (node.pos[0] + 40 + ds.offset[0]) * ds.scale,
            box.top + (node.pos[1] + widget.last_y + 10 + ds.offset[1]) * ds.scale]
}"""  # of a widget on the screen


@pytest.mark.parametrize("language", ["zh", "ja", "ko", "en"])
def test_nodes_inputs_and_outputs_are_in_the_language_of_the_page(host, browser, tmp_path, language):
    texts = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text("utf-8"))["TrajectorySampler"]
    host.post("/settings", {"Comfy.Locale": language})
    try:
        with Frontend(browser, host, "classic") as page:
            page.page.evaluate("""() => {
                window.app.graph.clear()
                const node = LiteGraph.createNode("TrajectorySampler")
                window.app.graph.add(node)
                const other = LiteGraph.createNode("TrajectoryEncode")
                other.pos = [node.pos[0] + 420, node.pos[1]]
                window.app.graph.add(other)
            }""")
            page.fit()
            page.look(tmp_path / f"{language}.png")
            shown = page.page.evaluate(SHOWN, "TrajectorySampler")
            page.page.mouse.move(*page.page.evaluate(PLACE, ["TrajectorySampler", "denoise"]))
            tooltip = page.page.get_by_text(texts["inputs"]["denoise"]["tooltip"])
            tooltip.wait_for(timeout=20_000)
            page.look(tmp_path / f"{language}-tooltip.png")
            assert page.faults == []
    finally:
        host.post("/settings", {"Comfy.Locale": "en"})
    assert shown["title"] == texts["display_name"]
    for name in ("steps", "denoise", "batch"):
        assert shown["widgets"][name] == texts["inputs"][name]["name"], name
    assert shown["inputs"]["motion"] == texts["inputs"]["motion"]["name"]
    assert shown["outputs"]["latent"] == texts["outputs"]["0"]["name"]
