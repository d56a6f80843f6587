"""What a ComfyUI that has just started says of the pack: loaded in silence, every node listed and explained."""

from __future__ import annotations

import re
from itertools import zip_longest

import pytest

from comfyui_trajectory.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

KINDS_OF_WIDGET = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


@pytest.fixture(scope="module")
def nodes(host):
    return {name: node for name, node in host.get("/object_info").items() if name in NODE_CLASS_MAPPINGS}


def inputs_of(node):
    return [
        (name, spec)
        for kind in ("required", "optional")
        for name, spec in node["input"].get(kind, {}).items()
    ]  # fmt: skip


def test_the_pack_is_imported_without_a_warning(host):
    assert re.search(r"seconds: .*ComfyUI-Trajectory", host.log()), host.log()
    assert "IMPORT FAILED" not in host.log().partition("Import times for custom nodes")[2]
    assert host.warnings_at_start == []


def test_every_node_is_listed(nodes):
    assert NODE_CLASS_MAPPINGS
    assert set(nodes) == set(NODE_CLASS_MAPPINGS)


def test_every_node_has_a_name_a_place_and_a_description(nodes):
    for name, node in nodes.items():
        assert node["display_name"] == NODE_DISPLAY_NAME_MAPPINGS[name] != name
        assert re.match(r"Trajectory(/[^/]+)*$", node["category"]), (name, node["category"])
        assert len(node["description"]) > 30, name


def test_every_input_and_output_has_a_tooltip(nodes):
    silent = [f"{name}.{inp}" for name, node in nodes.items() for inp, spec in inputs_of(node)
              if not (len(spec) > 1 and spec[1].get("tooltip"))]  # fmt: skip
    for name, node in nodes.items():
        silent += [f"{name} -> {out}" for out, tip in zip_longest(node["output_name"], node.get("output_tooltips", ()))
                   if not tip]  # fmt: skip
    assert silent == []


def test_every_default_is_one_that_the_widget_can_hold(nodes):
    for name, node in nodes.items():
        for inp, spec in inputs_of(node):
            options = spec[1] if len(spec) > 1 else {}
            if "default" not in options:
                continue
            if isinstance(spec[0], list):
                assert options["default"] in spec[0], (name, inp)
            elif spec[0] in ("INT", "FLOAT"):
                low, high = options.get("min", 0), options.get("max", 2048)  # the frontend's own bounds
                assert low <= options["default"] <= high, (name, inp, options)


def test_every_node_has_a_help_page(host, nodes):
    for name in nodes:
        page = host.get(f"/extensions/{host.pack.name}/docs/{name}.md").decode()
        assert page.startswith("# "), name


def test_the_example_workflows_are_offered_as_templates(host):
    listed = host.get("/api/workflow_templates")[host.pack.name]
    shipped = sorted(file.stem for file in (host.pack / "workflows").glob("*.json"))
    assert sorted(listed) == shipped and shipped
    for name in shipped:
        assert (host.pack / "workflows" / f"{name}.jpg").is_file(), f"{name} has no picture"
