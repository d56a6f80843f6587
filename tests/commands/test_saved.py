"""Workflows as earlier versions saved them (tests/saved) still load and run; none of the files there is ever
changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from comfyui_trajectory.commands.graph import Link, inputs_of, read_graph
from comfyui_trajectory.commands.run import CLASSES

from .test_run import save, with_tiny_files

SAVED = sorted((Path(__file__).resolve().parents[1] / "saved").glob("*.json"))


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_every_saved_value_still_has_its_input(path):
    steps = read_graph(path, CLASSES)
    assert len(steps) > 10
    for step in steps.values():
        known = inputs_of(CLASSES[step.type])
        for name, value in step.inputs.items():
            kind, options = known[name]
            if isinstance(value, Link):
                source = steps[value.source]
                assert CLASSES[source.type].RETURN_TYPES[value.slot] == kind, (step.name, name)
            elif isinstance(kind, list):
                assert value in kind or name.endswith("_name") or name == "image", (step.name, name, value)
            elif kind in ("INT", "FLOAT"):
                assert options.get("min", value) <= value <= options.get("max", value), (step.name, name, value)
        for name in CLASSES[step.type].INPUT_TYPES()["required"]:
            kind, options = known[name]
            assert name in step.inputs or "default" in options or isinstance(kind, list), (step.name, name)


def test_a_saved_workflow_runs_to_a_video(run, tmp_path):
    graph = with_tiny_files(json.loads(next(path for path in SAVED if path.stem == "ati_embedded").read_text("utf-8")))
    code, _, error = run("run", "-q", save(tmp_path / "graph.json", graph))
    assert code == 0, error
    assert len(list((tmp_path / "output").rglob("*.mp4"))) == 1
