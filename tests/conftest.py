"""Options and fixtures of the whole suite: where the golden cases are, gradients off, few threads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
SHARED_GOLDEN = ROOT.parent / "shared" / "golden"
OWN_GOLDEN = ROOT / "tests" / "golden"


def pytest_addoption(parser):
    parser.addoption(
        "--golden-root", type=Path, action="append",
        help="folder of golden cases, searched to any depth; may be given more than once "
        "(default: tests/golden and, where it exists, ../shared/golden)",
    )  # fmt: skip


def golden_folders(config) -> list[Path]:
    roots = config.getoption("--golden-root") or [root for root in (OWN_GOLDEN, SHARED_GOLDEN) if root.is_dir()]
    missing = [root for root in roots if not root.is_dir()]
    if missing:
        raise pytest.UsageError(f"--golden-root {missing[0]} is not a folder")
    return sorted(path.parent for root in roots for path in root.rglob("case.json"))


def pytest_generate_tests(metafunc):
    if "golden_folder" in metafunc.fixturenames:
        folders = golden_folders(metafunc.config)
        metafunc.parametrize("golden_folder", folders, ids=[f"{f.parent.name}/{f.name}" for f in folders])


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield
