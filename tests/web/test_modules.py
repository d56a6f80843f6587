"""The editor's pure modules, tested by node's own test runner (`node --test tests/web/*.test.mjs`) where node is
there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).parent.glob("*.test.mjs"))
NODE = shutil.which("node")


def version(node: str | None) -> int:
    if node is None:
        return 0
    return int(
        subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip("v\n ").split(".")[0] or 0
    )


@pytest.mark.skipif(version(NODE) < 20, reason="the editor's JavaScript tests need node 20 or later")
@pytest.mark.parametrize("file", FILES, ids=[file.name.removesuffix(".test.mjs") for file in FILES])
def test_the_editors_modules_pass_their_own_tests(file):
    done = subprocess.run(
        [NODE, "--test", "--test-reporter=spec", str(file)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
