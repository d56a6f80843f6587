"""The shipped workflows in ComfyUI's own page, in both renderers: dropped, looked at, run by the button.

Screenshots lie in the test's temporary folder (pytest --basetemp=DIR keeps them in a place of choice).
"""

from __future__ import annotations

import json

import pytest
from comfyui.frontend import Frontend
from comfyui.graphs import tracks_to_video
from comfyui.host import ROOT
from comfyui_trajectory.commands.graph import Link, inputs_of, read_graph, widgets
from comfyui_trajectory.commands.run import CLASSES

RENDERERS = ("classic", "nodes 2.0")
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
EMBEDDED = ROOT / "workflows" / "ati_embedded.json"
EMBEDDED_ONES = [file for file in WORKFLOWS if file.stem.endswith("_embedded")]
SAVED = sorted((ROOT / "tests" / "saved").glob("*.json"))  # by earlier versions


@pytest.fixture(scope="module", params=RENDERERS)
def page(request, browser, host):
    with Frontend(browser, host, request.param) as page:
        yield page


@pytest.fixture
def shots(tmp_path, page):
    return lambda name: page.look(tmp_path / f"{name}-{page.renderer.replace(' ', '-')}.png")


def test_a_graph_in_api_format_is_dropped_and_run(host, page, shots, tmp_path):
    numbers = {name: str(i) for i, name in enumerate(tracks_to_video(), start=1)}
    graph = {
        numbers[name]: {**node, "inputs": {key: [numbers[value[0]], value[1]] if isinstance(value, list) else value
                                           for key, value in node["inputs"].items()}}
        for name, node in tracks_to_video().items()
    }  # fmt: skip
    file = tmp_path / "graph.json"
    file.write_text(json.dumps(graph))
    page.drop(file)
    entry = host.wait(page.press_run())
    page.fit()
    shots("api")
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    assert page.faults == []


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_opens_with_every_node_known_and_nothing_upon_another(page, shots, file):
    page.drop(file)
    page.fit()
    shots(file.stem)
    nodes = page.nodes()
    assert [node["type"] for node in nodes if not node["known"]] == []
    assert overlaps(nodes) == []
    assert [(node["title"], group["title"]) for node in nodes for group in page.groups()
            if meets(node, group) and not inside(node, group)] == []  # fmt: skip
    assert page.cut_off() == []
    assert page.faults == []


def meets(a: dict, b: dict) -> bool:
    return a["left"] < b["right"] and b["left"] < a["right"] and a["top"] < b["bottom"] and b["top"] < a["bottom"]


def inside(a: dict, b: dict) -> bool:
    return (a["left"] >= b["left"] and a["right"] <= b["right"]
            and a["top"] >= b["top"] and a["bottom"] <= b["bottom"])  # fmt: skip


def overlaps(nodes) -> list[tuple[str, str]]:
    return [(a["title"], b["title"]) for i, a in enumerate(nodes) for b in nodes[:i] if meets(a, b)]


@pytest.mark.parametrize("file", [*WORKFLOWS, *SAVED], ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_the_browser_queues_what_the_command_line_runs(page, file):
    page.drop(file)
    ours = {
        id: (step.type, {name: [value.source, value.slot] if isinstance(value, Link) else value
                         for name, value in {**defaults(CLASSES[step.type]), **step.inputs}.items()})
        for id, step in read_graph(file, CLASSES).items() if step.type.startswith("Trajectory")
    }  # fmt: skip
    theirs = {id: (node["class_type"], node["inputs"]) for id, node in page.prompt().items()
              if node["class_type"].startswith("Trajectory")}  # fmt: skip
    assert ours == theirs


def defaults(cls) -> dict:
    """What the browser sets where a file has no value, since the input is newer than the file."""
    known = inputs_of(cls)
    first = {name: known[name][0][0] if isinstance(known[name][0], list) else None for name, _ in widgets(cls)}
    return {name: options.get("default", first[name]) for name, options in widgets(cls)}


@pytest.mark.parametrize("file", EMBEDDED_ONES, ids=lambda file: file.stem)
def test_an_embedded_workflow_becomes_a_saved_video_by_the_run_button(host, page, shots, file):
    page.drop(file)
    page.follow("TrajectorySampler")
    prompt_id = page.press_run()
    page.page.wait_for_function("() => window.steps.some(([done]) => done >= 2)", timeout=300_000)
    assert page.previewed("TrajectorySampler")
    page.fit()
    shots(f"{file.stem}-running")
    entry = host.wait(prompt_id)
    shots(f"{file.stem}-finished")
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    done = [done for done, _ in page.steps()]
    assert done == sorted(done) and len(set(done)) >= 3, done
    videos = [file for file in host.saved(entry) if file.suffix == ".mp4"]
    assert len(videos) == 1 and videos[0].stat().st_size > 1000
    assert page.faults == []


def test_cancel_stops_the_embedded_workflow_and_it_runs_again(host, page, shots):
    page.drop(EMBEDDED)
    page.set_widget("TrajectorySampler", "steps", 200)
    page.follow("TrajectorySampler")
    prompt_id = page.press_run()
    page.page.wait_for_function("() => window.steps.some(([done]) => done >= 1)", timeout=300_000)
    page.press_cancel()
    entry = host.wait(prompt_id, seconds=60)
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"
    assert max(done for done, _ in page.steps()) < 100
    page.fit()
    shots("cancelled")
    page.set_widget("TrajectorySampler", "steps", 2)
    assert host.wait(page.press_run())["status"]["status_str"] == "success"
    assert page.faults == []


def test_a_fault_is_shown_with_its_sentence(host, page, shots):
    page.drop(EMBEDDED)
    page.set_widget("TrajectoryFromCoordinates", "coordinates", '[{"x": NaN, "y": 3}]')
    host.wait(page.press_run())
    page.explain("coordinates: Track 0, point 0 (counted from 0): x is nan; a number of pixels is needed.")
    shots("fault")
    assert page.faults == []
