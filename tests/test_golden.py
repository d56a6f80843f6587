"""Runs every golden case below --golden-root: the operation of that name must give what the official code gave."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from .golden_cases import GoldenCase, wan

OPERATIONS = {
    name: getattr(module, name)
    for module in (wan,)
    for name in ("wan_dit_i2v", "wan_dit_t2v", "wan_vae", "motion_patch")
}


def test_golden(golden_folder: Path) -> None:
    case = GoldenCase(golden_folder)
    OPERATIONS[case.name](case)
