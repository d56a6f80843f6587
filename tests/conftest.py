"""Options and fixtures of the whole suite: where the golden cases are, gradients off, a browser."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
SHARED_GOLDEN = ROOT.parent / "shared" / "golden"
OWN_GOLDEN = ROOT / "tests" / "golden"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def pytest_addoption(parser):
    parser.addoption(
        "--golden-root", type=Path, action="append",
        help="folder of golden cases, searched to any depth; may be given more than once "
        "(default: tests/golden and, where it exists, ../shared/golden)",
    )  # fmt: skip
    parser.addoption(
        "--device",
        help="where tests/models/test_cuda.py and the networks of golden cases compute (default: the GPU, if there is "
        "one, and the CPU); 'cpu' goes through test_cuda.py anywhere",
    )


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


@pytest.fixture
def exact():
    """GPUs multiply float32 as float32, and not with 10 bits of it."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def no_browser() -> str | None:
    """Why there is no browser for tests; None where there is one."""
    if not importlib.util.find_spec("playwright"):
        return "tests in a browser: not run; pip install playwright (Debian's chromium is found by itself)"
    return None if find_chromium() else "tests in a browser: not run; install chromium"


def find_chromium() -> str | None:
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


def pytest_terminal_summary(terminalreporter):
    reason = no_browser()
    if reason and any(reason in str(report.longrepr) for report in terminalreporter.stats.get("skipped", ())):
        terminalreporter.write_line(reason)


@pytest.fixture(scope="session")
def browser():
    """Chromium under Playwright's hand; one for all tests, since Playwright runs once a process."""
    if reason := no_browser():
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), headless=True, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()
