"""Runs a graph in API format through the pack's node classes in this process, without ComfyUI."""

from __future__ import annotations

from comfyui_trajectory.commands.core_nodes import CORE_NODES
from comfyui_trajectory.nodes import NODE_CLASS_MAPPINGS


def result(graph: dict, node: str, done: dict | None = None) -> tuple:
    """What `node` of the graph gives, after everything that it needs."""
    done = {} if done is None else done
    if node not in done:
        inputs = {
            name: result(graph, value[0], done)[value[1]] if isinstance(value, list) else value
            for name, value in graph[node]["inputs"].items()
        }
        kind = graph[node]["class_type"]
        cls = NODE_CLASS_MAPPINGS.get(kind) or CORE_NODES[kind]
        answer = getattr(cls(), cls.FUNCTION)(**inputs)
        done[node] = answer["result"] if isinstance(answer, dict) else answer
    return done[node]
