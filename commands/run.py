"""`run`: executes a graph file through the node classes, in the order in which its outputs need them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ..nodes import NODE_CLASS_MAPPINGS
from ..nodes.host import host
from .core_nodes import CORE_NODES
from .graph import GraphError, Link, Step, inputs_of, read_graph, unknown_node

CLASSES: Mapping[str, type] = {**CORE_NODES, **NODE_CLASS_MAPPINGS}


def run_workflow(path: Path, settings: Mapping[str, str] = {}, tell=lambda step: None) -> list[Path | str]:
    """Runs every output node of a graph file and what it needs; gives the files and texts that they made.

    settings: {'<node id or type>.<input>': value}, in place of what the file holds. tell(step) is called before each.
    GraphError, or the error of a node with its name in front.
    """
    steps = read_graph(path, CLASSES)
    for key, value in settings.items():
        change(steps, key, value)
    results: dict[str, tuple] = {}
    made: list[Path | str] = []
    outputs = [step for step in steps.values() if getattr(class_of(step), "OUTPUT_NODE", False)]
    if not outputs:
        raise GraphError(
            f"{path}: the workflow has no output node (Save Video, Save Image …), so there is nothing to run."
        )
    order = in_order(steps, outputs)
    waiting = Counter(source for step in order for source in sources(step))
    for step in order:
        tell(step)
        host.check_cancelled()
        results[step.id], shown = run_step(step, results)
        made += [*shown.get("files", ()), *shown.get("text", ())]
        for source in sources(step):
            waiting[source] -= 1
            if not waiting[source]:
                del results[source]  # an encoder's memory is free before the video model runs
    return made


def sources(step: Step) -> list[str]:
    """The steps whose outputs it takes, once for each."""
    return [link.source for link in step.inputs.values() if isinstance(link, Link)]


def class_of(step: Step) -> type:
    if step.type not in CLASSES:
        raise GraphError(unknown_node(step.type, step.id))
    return CLASSES[step.type]


def change(steps: dict[str, Step], key: str, value: str) -> None:
    place, _, name = key.rpartition(".")
    chosen = [step for step in steps.values() if place in (step.id, step.type)]
    if not chosen:
        raise GraphError(
            f"{key}: there is no node '{place}' in this workflow ({', '.join(s.name for s in steps.values())})."
        )
    for step in chosen:
        inputs = inputs_of(class_of(step))
        if name not in inputs:
            raise GraphError(f"{key}: {step.name} has no input '{name}'; it has {', '.join(inputs)}.")
        kind = "COMBO" if isinstance(inputs[name][0], list) else inputs[name][0]  # a list of what there is to choose
        try:
            step.inputs[name] = {"INT": int, "FLOAT": float, "BOOLEAN": yes_or_no}.get(kind, str)(value)
        except (TypeError, ValueError):
            wanted = "true or false" if kind == "BOOLEAN" else "a number"
            raise GraphError(f"{key}: '{value}' is not {wanted}.") from None


def yes_or_no(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def in_order(steps: dict[str, Step], outputs: list[Step]) -> list[Step]:
    """The outputs and all that they need, each after what feeds it."""
    order: list[Step] = []
    state: dict[str, str] = {}
    waiting = list(reversed(outputs))
    while waiting:
        step = waiting[-1]
        if state.get(step.id) == "done":
            waiting.pop()
            continue
        class_of(step)
        feeding = [source_of(steps, step, name, link) for name, link in step.inputs.items() if isinstance(link, Link)]
        missing = [source for source in feeding if state.get(source.id) != "done"]
        if not missing:
            state[step.id] = "done"
            order.append(waiting.pop())
            continue
        if state.get(step.id) == "open" and any(state.get(source.id) == "open" for source in missing):
            raise GraphError(f"{step.name}: the links run in a circle through it.")
        state[step.id] = "open"
        waiting += missing
    return order


def source_of(steps: dict[str, Step], step: Step, name: str, link: Link) -> Step:
    if link.source not in steps:
        raise GraphError(
            f"{step.name}: its input '{name}' comes from node {link.source}, which is not in the workflow."
        )
    return steps[link.source]


def run_step(step: Step, results: Mapping[str, tuple]) -> tuple[tuple, dict]:
    """-> the node's outputs, and what it shows ("ui")."""
    cls = class_of(step)
    known = inputs_of(cls)
    given = {}
    for name, value in step.inputs.items():
        if name not in known:
            raise GraphError(f"{step.name} has no input '{name}'; it has {', '.join(known)}.")
        if isinstance(value, Link):
            outputs = results[value.source]
            if value.slot >= len(outputs):
                raise GraphError(
                    f"{step.name}: its input '{name}' wants output {value.slot} of node {value.source}, "
                    f"which has {len(outputs)}."
                )
            value = outputs[value.slot]
        given[name] = value
    for name in cls.INPUT_TYPES().get("required", {}):
        if name not in given and "default" in known[name][1]:
            given[name] = known[name][1]["default"]
        elif name not in given and isinstance(known[name][0], list) and known[name][0]:
            given[name] = known[name][0][0]
        elif name not in given:
            raise GraphError(f"{step.name}: its input '{name}' is not connected.")
    try:
        result = getattr(cls(), cls.FUNCTION)(**given)
    except ValueError as error:
        raise GraphError(f"{step.name}: {error}") from error
    if isinstance(result, dict):
        return tuple(result.get("result", ())), result.get("ui", {})
    return tuple(result), {}
