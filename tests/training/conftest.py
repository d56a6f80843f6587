"""Photographs that need not be fetched."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def photographs():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (2, 16, 20, 3)).astype(np.uint8)
    return {str(i): np.kron(part, np.ones((16, 16, 1), np.uint8)) for i, part in enumerate(coarse)}
