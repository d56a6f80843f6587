"""Graph files run through the node classes, as ComfyUI's browser saves them and as its API takes them."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path

import comfyui_trajectory as pack
import pytest
from comfyui_trajectory.commands.files import read_image, read_video
from comfyui_trajectory.commands.graph import GraphError, Link, inputs_of, read_graph, widgets
from comfyui_trajectory.commands.run import CLASSES, run_workflow

from ..tiny import FILES

WORKFLOWS = sorted((Path(pack.__file__).parent / "workflows").glob("*.json"))
EMBEDDED = next(path for path in WORKFLOWS if path.stem == "ati_embedded")


def save(path: Path, graph: dict) -> Path:
    path.write_text(json.dumps(graph), "utf-8")
    return path


def with_tiny_files(graph: dict) -> dict:
    """The embedded workflow with the tiny model's files."""
    for node in graph["nodes"]:
        for kind, name in FILES.items():
            ending = name.removeprefix("tiny_")
            node["widgets_values"] = [
                name if str(value).endswith(ending) else value for value in node.get("widgets_values", [])
            ]
    return graph


@pytest.fixture
def graph():
    return with_tiny_files(json.loads(EMBEDDED.read_text("utf-8")))


def test_the_embedded_workflow_runs_to_a_saved_video(run, graph, tmp_path):
    code, out, err = run("run", "-q", save(tmp_path / "graph.json", graph))
    assert code == 0, err
    (video,) = (tmp_path / "output").rglob("*.mp4")
    assert out.strip() == str(Path("output") / video.relative_to(tmp_path / "output"))
    frames, fps = read_video(video)
    assert frames.shape == (5, 32, 32, 3) and fps == 8


@pytest.mark.parametrize("file", [path for path in WORKFLOWS if path.stem.endswith("_embedded")], ids=lambda f: f.stem)
def test_a_shipped_embedded_workflow_runs_as_it_is(run, tmp_path, file):
    code, _, err = run("run", "-q", file)
    assert code == 0, err
    assert len(list((tmp_path / "output").rglob("*.mp4"))) == 1


def test_api_format_gives_the_same_as_the_saved_file(run, graph, tmp_path):
    steps = read_graph(save(tmp_path / "ui.json", graph), CLASSES)
    api = {
        step.id: {
            "class_type": step.type,
            "inputs": {
                name: [value.source, value.slot] if isinstance(value, Link) else value
                for name, value in step.inputs.items()
            },
        }
        for step in steps.values()
    }  # fmt: skip
    assert read_graph(save(tmp_path / "api.json", api), CLASSES) == steps


def test_settings_are_put_in_place_of_saved_values(run, graph, tmp_path):
    path = save(tmp_path / "graph.json", graph)
    assert (
        run("run", "-q", path, "--set", "TrajectoryEncode.frames=9", "--set", "SaveVideo.filename_prefix=other")[0] == 0
    )
    (video,) = (tmp_path / "output").glob("other_*.mp4")
    assert len(read_video(video)[0]) == 9
    assert "no input 'framez'" in run("run", "-q", path, "--set", "TrajectoryEncode.framez=9")[2]
    assert "not a number" in run("run", "-q", path, "--set", "TrajectoryEncode.frames=nine")[2]
    assert "no node 'Nothing'" in run("run", "-q", path, "--set", "Nothing.frames=9")[2]


def chain(*middle: dict) -> dict:
    """An example image, nodes in the middle and Save Image, each linked to the next."""
    nodes = [
        {"type": "TrajectoryExampleImage", "widgets_values": ["flower.jpg"]},
        *middle,
        {"type": "SaveImage", "widgets_values": ["out"]},
    ]
    links = []
    for index, node in enumerate(nodes):
        node |= {"id": index + 1, "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [index + 1]}]}
        names = {"SaveImage": "images"}
        node["inputs"] = [{"name": names.get(node["type"], "image"), "type": "IMAGE", "link": index}] if index else []
        links += [[index, index, 0, index + 1, 0, "IMAGE"]] if index else []
    return {"nodes": nodes, "links": links, "version": 0.4}


def test_reroutes_and_bypassed_nodes_hand_their_input_through(run, tmp_path):
    middle = ({"type": "Reroute"}, {"type": "NodeOfSomebodyElse", "mode": 4})
    assert run("run", save(tmp_path / "graph.json", chain(*middle)))[0] == 0
    assert read_image(tmp_path / "output" / "out_00001_.png").shape == (1, 384, 384, 3)


def test_a_muted_node_gives_nothing_and_what_needs_it_says_so(run, tmp_path):
    code, _, err = run("run", save(tmp_path / "graph.json", chain({"type": "SomeNode", "mode": 2})))
    assert code == 1 and "SaveImage (node 3): its input 'images' is not connected" in err


def test_notes_are_passed_over(run, tmp_path):
    graph = chain()
    graph["nodes"].append({"id": 9, "type": "MarkdownNote", "widgets_values": ["# hello"]})
    assert run("run", save(tmp_path / "graph.json", graph))[0] == 0


def test_an_unknown_node_is_named(run, tmp_path):
    code, _, err = run("run", save(tmp_path / "graph.json", chain({"type": "NodeOfSomebodyElse"})))
    assert code == 1 and "NodeOfSomebodyElse (node 2)" in err


def test_a_primitive_gives_its_value(tmp_path):
    graph = chain()
    graph["nodes"][1]["inputs"].append(
        {"name": "filename_prefix", "type": "STRING", "link": 7, "widget": {"name": "filename_prefix"}}
    )
    graph["nodes"].append(
        {"id": 5, "type": "PrimitiveNode", "widgets_values": ["from_primitive", "fixed"], "outputs": []}
    )
    graph["links"].append([7, 5, 0, 2, 1, "STRING"])
    steps = read_graph(save(tmp_path / "graph.json", graph), CLASSES)
    assert steps["2"].inputs["filename_prefix"] == "from_primitive"


def test_the_value_after_a_seed_is_not_taken_for_the_next_input(tmp_path):
    for saved in ([1, 2.0, 3.0, "auto", 4, "randomize", 0.5], [1, 2.0, 3.0, "auto", 4, 0.5]):
        graph = {"nodes": [{"id": 1, "type": "TrajectorySampler", "widgets_values": saved}], "links": []}
        inputs = read_graph(save(tmp_path / "graph.json", graph), CLASSES)["1"].inputs
        assert (inputs["seed"], inputs["denoise"]) == (4, 0.5)


def test_links_in_a_circle_and_values_too_many_are_refused(tmp_path):
    circle = {"1": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}}}
    circle["2"] = {"class_type": "TrajectoryPreview", "inputs": {"image": ["3", 0]}}
    circle["3"] = {"class_type": "TrajectoryPreview", "inputs": {"image": ["2", 0]}}
    with pytest.raises(GraphError, match="circle"):
        run_workflow(save(tmp_path / "circle.json", circle))
    graph = {"nodes": [{"id": 1, "type": "TrajectoryDecode", "widgets_values": [0, 1, 2]}], "links": []}
    with pytest.raises(GraphError, match="another version"):
        read_graph(save(tmp_path / "graph.json", graph), CLASSES)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"a": 1}', '"text"'])
def test_what_is_no_workflow_is_refused(tmp_path, content):
    path = tmp_path / "graph.json"
    path.write_text(content, "utf-8")
    with pytest.raises(GraphError, match="graph.json"):
        read_graph(path, CLASSES)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_shipped_workflow_fits_the_nodes_as_they_are(path):
    graph = json.loads(path.read_text("utf-8"))
    nodes = {node["id"]: node for node in graph["nodes"]}
    for node in nodes.values():
        if node["type"] in ("Note", "MarkdownNote"):
            continue
        cls = CLASSES[node["type"]]
        known = inputs_of(cls)
        values = list(node["widgets_values"])
        for name, options in widgets(cls):
            value, kind = values.pop(0), known[name][0]
            if isinstance(kind, list):
                file = name.endswith("_name") or name in ("image", "file")
                assert file or value in kind, (node["type"], name, value)
            else:
                assert isinstance(value, {"INT": int, "FLOAT": (int, float), "STRING": str}[kind]), (node["type"], name)
                assert options.get("min", value) <= value <= options.get("max", value), (node["type"], name)
            more = options.get("control_after_generate") or any(key.endswith("_upload") for key in options)
            values = values[1:] if more else values
        assert values == [], node["type"]
        sockets = [socket["name"] for socket in node["inputs"] if "widget" not in socket]
        assert sockets == [name for name in known if name not in dict(widgets(cls))]
        assert [output["type"] for output in node["outputs"]] == list(cls.RETURN_TYPES)
        for name in cls.INPUT_TYPES()["required"]:
            if name in sockets:
                assert next(socket for socket in node["inputs"] if socket["name"] == name)["link"], (node["type"], name)
    for number, source, slot, target, place, kind in graph["links"]:
        output, socket = nodes[source]["outputs"][slot], nodes[target]["inputs"][place]
        assert output["type"] == socket["type"] == kind and number in output["links"] and socket["link"] == number
        assert nodes[source]["pos"][0] <= nodes[target]["pos"][0], "the graph reads from left to right"
    for group in graph["groups"]:
        assert group["title"]
    assert any(node["type"] == "MarkdownNote" for node in nodes.values())


def test_the_embedded_workflow_uses_the_example_track():
    from comfyui_trajectory.nodes.host import EXAMPLES
    from comfyui_trajectory.trajectory import parse_coordinates, read_tracks

    steps = read_graph(EMBEDDED, CLASSES)
    (step,) = (step for step in steps.values() if step.type == "TrajectoryFromCoordinates")
    canvas = step.inputs["canvas_width"], step.inputs["canvas_height"]
    drawn, shipped = parse_coordinates(step.inputs["coordinates"], canvas=canvas), read_tracks(EXAMPLES / "cloud.json")
    assert drawn.canvas == shipped.canvas and (drawn.path == shipped.path).all()


def test_what_no_later_step_takes_leaves_memory(tmp_path, monkeypatch):
    """An encoder of which only its prompt is needed, and one that two steps take."""
    from comfyui_trajectory.commands import run as module

    made, alive = [], []

    def node(inputs, work, output=False):
        fields = {"INPUT_TYPES": classmethod(lambda cls: {"required": {name: ("THING", {}) for name in inputs}}),
                  "FUNCTION": "work", "work": lambda self, **given: work(**given), "OUTPUT_NODE": output}  # fmt: skip
        return type("Node", (), fields)

    class Encoder:
        pass

    def load():
        encoder = Encoder()
        made.append(weakref.ref(encoder))
        return (encoder,)

    def look(**_):
        gc.collect()
        alive.append([reference() is not None for reference in made])
        return (1,)

    classes = {"Load": node([], load), "Encode": node(["encoder"], lambda encoder: (2,)),
               "Sample": node(["prompt"], look), "Save": node(["latent", "encoder"], look, output=True)}  # fmt: skip
    monkeypatch.setattr(module, "CLASSES", classes)
    graph = {"1": ("Load", {}), "2": ("Load", {}), "3": ("Encode", {"encoder": ["1", 0]}),
             "4": ("Sample", {"prompt": ["3", 0]}), "5": ("Save", {"latent": ["4", 0], "encoder": ["2", 0]})}  # fmt: skip
    graph = {id: {"class_type": name, "inputs": inputs} for id, (name, inputs) in graph.items()}
    module.run_workflow(save(tmp_path / "graph.json", graph))
    assert len(alive[0]) == 2 and sum(alive[0]) == 1 == sum(alive[1])
