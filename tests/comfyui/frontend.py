"""ComfyUI's page in a browser, used as a person would: drop a workflow on it, press Run, look.

Both renderers: the classic canvas and the newer one of HTML nodes ("Nodes 2.0"). It does not know which nodes it shows.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

READY = "() => window.app?.graph && window.app.extensionManager && document.querySelector('canvas')"
DROP = """([name, type, text]) => {
    const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0))
    const data = new DataTransfer()
    data.items.add(new File([bytes], name, {type}))
    const at = {dataTransfer: data, bubbles: true, cancelable: true, clientX: 700, clientY: 300}
    const canvas = document.querySelector('#graph-canvas') ?? document.querySelector('canvas')
    canvas.dispatchEvent(new DragEvent('dragover', at))
    canvas.dispatchEvent(new DragEvent('drop', at))
}"""


class Frontend:
    """`with Frontend(browser, host, "classic") as page`. `faults`: errors, uncaught or logged, that name `blame`."""

    def __init__(self, browser, host, renderer: str, blame: str = "rajectory"):
        self.host, self.renderer, self.blame = host, renderer, blame
        self.faults: list[str] = []
        self.page = browser.new_page(viewport={"width": 1920, "height": 1080})

    def __enter__(self) -> Frontend:
        settings = {
            "Comfy.VueNodes.Enabled": self.renderer == "nodes 2.0", "Comfy.TutorialCompleted": True,
            "Comfy.Workflow.Persist": False, "Comfy.Minimap.Visible": False, "Comfy.Queue.QPOV2": False,
            "Comfy.RightSidePanel.IsOpen": False,  # the account of a fault opens it, and the host remembers that
        }  # fmt: skip
        self.host.post("/settings", settings)
        self.page.on("pageerror", self._uncaught)
        self.page.on("console", self._console)
        self.page.goto(self.host.url)
        self.page.wait_for_function(READY, timeout=60_000)
        self.page.wait_for_timeout(1500)  # the start-up graph, toasts
        return self

    def __exit__(self, *_):
        self.page.close()

    def _uncaught(self, error):
        if self.blame in f"{error.message} {error.stack}":
            self.faults.append(f"uncaught: {error.stack}")

    def _console(self, message):
        if "https://api.comfy.org/" in message.text:
            return  # after a fault the page asks ComfyUI's registry for the pack's address, which it may not reach
        where = message.location.get("url", "")
        ours = self.blame in message.text or (self.blame in where and where.startswith(self.host.url))
        if message.type == "error" and ours:
            self.faults.append(f"console: {message.text} ({where})")

    def drop(self, file: Path):
        """Drops a workflow file, as the browser saves it or in API format, and waits until its nodes stand there."""
        graph = json.loads(file.read_text(encoding="utf-8"))
        if "nodes" in graph:
            expected = sorted(node["type"] for node in graph["nodes"])
        else:
            expected = sorted(node["class_type"] for node in graph.values())
        content = base64.b64encode(file.read_bytes()).decode()
        self.page.evaluate(DROP, [file.name, "application/json", content])
        shown = "types => JSON.stringify(window.app.graph._nodes.map(node => node.type).sort()) === types"
        self.page.wait_for_function(shown, arg=json.dumps(expected, separators=(",", ":")), timeout=20_000)
        self.page.wait_for_timeout(1500)

    def prompt(self) -> dict:
        """The graph in API format, as the frontend would queue it."""
        return self.page.evaluate("async () => (await window.app.graphToPrompt()).output")

    def nodes(self) -> list[dict]:
        """Type, title and place of every node: left, top (title included), right, bottom, in the canvas' units."""
        return self.page.evaluate("""() => window.app.graph._nodes.map(node => {
            const known = node.type in LiteGraph.registered_node_types
            const [left, top, width, height] = node.boundingRect ?? node.getBounding()
            return {type: node.type, title: node.title, known, left, top, right: left + width, bottom: top + height}
        })""")

    def groups(self) -> list[dict]:
        return self.page.evaluate("""() => window.app.graph._groups.map(({title, _bounding}) => {
            const [left, top, width, height] = _bounding
            return {title, left, top, right: left + width, bottom: top + height}
        })""")

    def cut_off(self) -> list[str]:
        """The notes whose text is longer than the note; each is looked at, since those out of sight are not drawn."""
        found = []
        for node in self.nodes():
            if node["type"] == "MarkdownNote":
                self.zoom(1.0, node["left"], node["top"])
                found += self.page.evaluate("""() =>
                    [...document.querySelectorAll('[class*=markdown], [class*=markdown] *')]
                    .filter(part => part.innerText && part.clientHeight && part.scrollHeight > part.clientHeight + 2)
                    .map(part => part.innerText)""")  # fmt: skip
        return found

    def set_widget(self, node_type: str, widget: str, value):
        self.page.evaluate("""([type, name, value]) => {
            const node = window.app.graph._nodes.find(node => node.type === type)
            node.widgets.find(widget => widget.name === name).value = value
        }""", [node_type, widget, value])  # fmt: skip

    def press_run(self) -> str:
        """Presses the Run button; gives the queued prompt's id."""
        with self.page.expect_response(lambda answer: answer.url.endswith("/prompt")
                                       and answer.request.method == "POST", timeout=20_000) as answer:  # fmt: skip
            button = self.page.locator("[data-testid='queue-button'] button, button[data-testid='queue-button'], "
                                       ".comfyui-queue-button button").first  # fmt: skip
            button.click()
        return answer.value.json()["prompt_id"]

    def press_cancel(self):
        """Presses the button that stops what is running."""
        self.page.get_by_role("button", name=re.compile("cancel current run|interrupt", re.I)).first.click()

    def follow(self, node_type: str):
        """From now on keeps the progress of the node of that type: see `steps`."""
        self.page.evaluate("""type => {
            const id = String(window.app.graph._nodes.find(node => node.type === type).id)
            window.steps = []
            window.app.api.addEventListener('progress_state', ({detail}) => {
                const state = detail.nodes[id]
                if (state) window.steps.push([state.value, state.max])
            })
        }""", node_type)  # fmt: skip

    def steps(self) -> list[list[int]]:
        """[done, of] for each report of the followed node's progress."""
        return self.page.evaluate("() => window.steps")

    def previewed(self, node_type: str) -> bool:
        """Whether the node of that type shows a picture while it runs."""
        return self.page.evaluate("""type => {
            const node = window.app.graph._nodes.find(node => node.type === type)
            return !!(window.app.nodePreviewImages?.[node.id]?.length || node.imgs?.length)
        }""", node_type)  # fmt: skip

    def explain(self, sentence: str):
        """Waits for the host's account of a fault, behind a button in newer frontends, to show the sentence."""
        details = self.page.get_by_text("View details")
        shown = self.page.get_by_text(sentence)
        details.or_(shown).first.wait_for(timeout=20_000)
        if details.count():
            details.first.click()
        shown.locator("visible=true").first.wait_for(timeout=10_000)

    def fit(self):
        """Zooms so that the whole graph can be seen."""
        self.page.evaluate("() => window.app.extensionManager.command.execute('Comfy.Canvas.FitView')")
        self.page.wait_for_timeout(1500)

    def zoom(self, scale: float, left: float, top: float):
        """Looks closely, with that place of the graph at the top left."""
        self.page.evaluate("""([scale, left, top]) => {
            const {ds} = window.app.canvas
            ds.scale = scale
            ds.offset = [100 / scale - left, 100 / scale - top]
            window.app.canvas.setDirty(true, true)
        }""", [scale, left, top])  # fmt: skip
        self.page.wait_for_timeout(700)

    def look(self, file: Path) -> Path:
        self.page.screenshot(path=str(file))
        return file
