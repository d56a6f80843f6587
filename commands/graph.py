"""Graph files, as ComfyUI's browser saves them or as its API takes them, read into plain steps. Nothing is run here.

Format: ComfyUI's frontend, src/platform/workflow/validation/schemas/workflowSchema.ts; modes, bypass and nodes that
never run act as in its src/utils/executionUtil.ts (graphToPrompt).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MUTED, BYPASSED = 2, 4  # LiteGraph's modes NEVER and BYPASS
NOTES = ("Note", "MarkdownNote")
REROUTE, PRIMITIVE = "Reroute", "PrimitiveNode"
WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
NEXT_SEED = ("fixed", "increment", "decrement", "randomize")  # the widget that the browser puts after a seed


class GraphError(ValueError):
    """A graph file that cannot be read or run; the message names the file or the node."""


@dataclass(frozen=True)
class Link:
    """Output number `slot` of the step `source`."""

    source: str
    slot: int


@dataclass(frozen=True)
class Step:
    """One node to run: its class and, for each input, a value or a Link."""

    id: str
    type: str
    inputs: dict

    @property
    def name(self) -> str:
        return f"{self.type} (node {self.id})"


def read_graph(path: Path, classes: Mapping[str, type]) -> dict[str, Step]:
    """The steps of a graph file by id. classes: the node classes by name; their inputs say what the widgets are."""
    try:
        graph = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise GraphError(f"{path}: there is no such workflow.") from None
    except (OSError, ValueError) as error:
        raise GraphError(f"{path} is not a workflow: not JSON ({error}).") from error
    if isinstance(graph, dict) and isinstance(graph.get("nodes"), list):
        return UiGraph(graph, classes).steps()
    if (
        isinstance(graph, dict)
        and graph
        and all(isinstance(node, dict) and "class_type" in node for node in graph.values())
    ):
        return {id: api_step(id, node) for id, node in graph.items()}
    raise GraphError(
        f"{path} is JSON, but not a workflow: neither 'nodes' (saved) nor 'class_type' (API format) is in it."
    )


def api_step(id: str, node: dict) -> Step:
    def value(given):
        is_link = (
            isinstance(given, list) and len(given) == 2 and isinstance(given[0], str) and isinstance(given[1], int)
        )
        return Link(*given) if is_link else given

    return Step(id, node["class_type"], {name: value(given) for name, given in node.get("inputs", {}).items()})


class UiGraph:
    """A graph as the browser saves it: links apart from nodes, widget values by position, nodes that never run."""

    def __init__(self, graph: dict, classes: Mapping[str, type]):
        self.classes = classes
        self.nodes = {str(node["id"]): node for node in graph["nodes"]}
        self.links = {}
        for link in graph.get("links") or []:
            if isinstance(link, dict):  # schema 1; else 0.4: [id, from, slot, to, slot, type]
                link = [link["id"], link["origin_id"], link["origin_slot"]]
            self.links[link[0]] = Link(str(link[1]), link[2])

    def steps(self) -> dict[str, Step]:
        return {id: self.step(id, node) for id, node in self.nodes.items() if self.runs(node)}

    def runs(self, node: dict) -> bool:
        virtual = node["type"] in (*NOTES, REROUTE, PRIMITIVE)
        return not virtual and node.get("mode", 0) not in (MUTED, BYPASSED)

    def step(self, id: str, node: dict) -> Step:
        cls = self.classes.get(node["type"])
        if cls is None:
            raise GraphError(unknown_node(node["type"], id))
        inputs = self.widget_values(id, node, cls)
        for socket in node.get("inputs") or []:
            if socket.get("link") is not None:
                found = self.follow(self.links.get(socket["link"]))
                if found is not None:
                    inputs[socket["name"]] = found
        return Step(id, node["type"], inputs)

    def widget_values(self, id: str, node: dict, cls: type) -> dict:
        values = node.get("widgets_values") or []
        if isinstance(values, dict):
            return {name: values[name] for name, _ in widgets(cls) if name in values}
        values, found = list(values), {}
        for name, options in widgets(cls):
            if not values:
                break  # saved before this input existed: its default is used
            found[name] = values.pop(0)
            has_next = options.get("control_after_generate") or name in ("seed", "noise_seed")
            if has_next and values and values[0] in NEXT_SEED:
                values.pop(0)
            if any(key.endswith("_upload") for key in options) and values:
                values.pop(0)  # the upload button
        if values:
            raise GraphError(
                f"{node['type']} (node {id}): {len(node['widgets_values'])} widget values saved, more than "
                f"it has ({', '.join(name for name, _ in widgets(cls))}). It is of another version of the node."
            )
        return found

    def follow(self, link: Link | None):
        """The output or value that feeds an input, through reroutes and bypassed nodes; None where nothing does."""
        seen = set()
        while link is not None and link not in seen:
            seen.add(link)
            node = self.nodes.get(link.source)
            if node is None or node.get("mode", 0) == MUTED:
                return None
            if node["type"] == PRIMITIVE:
                return (node.get("widgets_values") or [None])[0]
            if node["type"] == REROUTE:
                link = self.fed_by(node, 0)
            elif node.get("mode", 0) == BYPASSED:
                link = self.bypass(node, link.slot)
            else:
                return link
        return None

    def fed_by(self, node: dict, slot: int) -> Link | None:
        sockets = node.get("inputs") or []
        return self.links.get(sockets[slot].get("link")) if slot < len(sockets) else None

    def bypass(self, node: dict, slot: int) -> Link | None:
        """What a bypassed node hands through: the input of the output's type in the same place, else the first such."""
        sockets = node.get("inputs") or []
        wanted = node["outputs"][slot]["type"]
        order = [slot, *range(len(sockets))]
        match = next((i for i in order if i < len(sockets) and sockets[i].get("type") == wanted), None)
        return None if match is None else self.fed_by(node, match)


def inputs_of(cls: type) -> dict[str, tuple]:
    """name -> (type or list of choices, options), required ones first: the order of sockets and of widget values."""
    kinds = cls.INPUT_TYPES()
    found = {**kinds.get("required", {}), **kinds.get("optional", {})}
    return {name: (spec[0], spec[1] if len(spec) > 1 else {}) for name, spec in found.items()}


def widgets(cls: type) -> list[tuple[str, dict]]:
    """The inputs that are widgets in the browser, with their options, in the order in which values are saved."""
    return [
        (name, options) for name, (kind, options) in inputs_of(cls).items()
        if (isinstance(kind, list) or kind in WIDGET_TYPES) and not options.get("forceInput")
    ]  # fmt: skip


def unknown_node(type: str, id: str) -> str:
    return (
        f"{type} (node {id}): this node is unknown here. Only this pack's nodes and a few of ComfyUI's own run "
        "without ComfyUI; remove, mute or bypass it, or queue the workflow in ComfyUI."
    )
