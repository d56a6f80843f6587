"""One tensor of a file that has not been read yet. Data, and no format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: its shape and dtype, and a function that maps it (reading nothing until it is used)."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    load: Callable[[], torch.Tensor]
