"""What the registry and ComfyUI-Manager read of the pack, and the rules that they hold packs to."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = [
    file for folder in (".", "commands", "models", "nodes", "trajectory", "training")
    for file in (ROOT / folder).glob("*.py" if folder == "." else "**/*.py")
]  # fmt: skip


@pytest.fixture(scope="module")
def metadata():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_the_registrys_metadata(metadata):
    comfy, project = metadata["tool"]["comfy"], metadata["project"]
    assert re.fullmatch(r">=\d+\.\d+\.\d+", comfy["requires-comfyui"])
    assert (ROOT / comfy["Icon"]).is_file() and comfy["PublisherId"] and comfy["DisplayName"]
    assert "comfyui" not in project["name"].lower() and re.fullmatch(r"\d+\.\d+\.\d+", project["version"])


def test_the_changelog_knows_this_version(metadata):
    assert f"\n## {metadata['project']['version']} " in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_nothing_that_comfyui_has_installed_is_changed(metadata):
    """No version is pinned, and of what ComfyUI brings nothing is asked for again."""
    required = (ROOT / "requirements.txt").read_text("utf-8").split()
    assert required == metadata["project"]["dependencies"] == ["opencv-python-headless"]


def test_what_the_registry_leaves_out_is_what_no_node_needs():
    ignored = [line for line in (ROOT / ".comfyignore").read_text("utf-8").splitlines() if line and line[0] != "#"]
    assert ignored and all((ROOT / name).exists() for name in ignored if name != "benchmarks/")
    needed = ("commands", "models", "nodes", "trajectory", "web", "workflows", "__init__.py", "LICENSE", "README.md")
    assert not [name for name in needed if f"{name}/".startswith(tuple(ignored))]


def test_no_code_is_made_or_installed_at_run_time():
    """The registry's rules: no eval, no exec, no pip, no pickles that can run code."""
    forbidden = []
    for file in SHIPPED:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
                forbidden.append(f"{file}:{node.lineno} {node.func.id}")
            if isinstance(node, ast.Constant) and node.value in ("pip", "-mpip"):
                forbidden.append(f"{file}:{node.lineno} {node.value}")
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                if not any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in node.keywords):
                    forbidden.append(f"{file}:{node.lineno} torch.load")
    assert forbidden == []


# What the scanner finds and why it may stay. Everything else that it finds is a fault.
JUSTIFIED = {
    ("models/common/readers.py", "B403"): "pickle is imported for the name of an error; torch reads, weights only",
    ("trajectory/ati.py", "B403"): "an Unpickler of our own that knows the types of ATI's track files and no other",
    ("training/photos.py", "B404"): "training unpacks photographs of Debian's packages; no node imports this",
    ("training/photos.py", "B603"): "fixed arguments, no shell",
    ("training/photos.py", "B607"): "apt-get and dpkg are found as the system has them",
}


def test_a_security_scanner_finds_nothing_that_is_not_justified():
    """bandit, of every severity and confidence, over all that the registry's archive holds."""
    pytest.importorskip("bandit")
    command = [sys.executable, "-m", "bandit", "-q", "-f", "json", *map(str, SHIPPED)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    report = json.loads(ran.stdout)
    assert report["errors"] == [] and report["metrics"]["_totals"]["loc"] > 1000
    found = {(Path(issue["filename"]).relative_to(ROOT).as_posix(), issue["test_id"]): issue
             for issue in report["results"]}  # fmt: skip
    new = {key: f"line {issue['line_number']}: {issue['issue_text']}" for key, issue in found.items()
           if key not in JUSTIFIED}  # fmt: skip
    assert new == {}
    assert set(found) == set(JUSTIFIED), "a finding is gone: take its justification out"


def test_a_saved_workflow_finds_a_renamed_node_under_its_former_id():
    from comfyui_trajectory.nodes import NODE_CLASS_MAPPINGS as nodes
    from comfyui_trajectory.nodes.renamed import RENAMED, former

    saved = [json.loads(file.read_text("utf-8")) for file in (ROOT / "tests" / "saved").glob("*.json")]
    used = {node["type"] for graph in saved for node in graph["nodes"] if node["type"].startswith("Trajectory")}
    assert used and used <= set(nodes) and set(RENAMED.values()) <= set(nodes)
    (old,) = former(nodes, {"TrajectoryDrawTracks": "TrajectoryPreview"}).items()
    assert old[0] == "TrajectoryDrawTracks" and old[1].DEPRECATED
    assert old[1].INPUT_TYPES() == nodes["TrajectoryPreview"].INPUT_TYPES()
    assert old[1].RETURN_TYPES == nodes["TrajectoryPreview"].RETURN_TYPES
    assert not hasattr(nodes["TrajectoryPreview"], "DEPRECATED")
