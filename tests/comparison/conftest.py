from __future__ import annotations

import numpy as np
import pytest

from pytest_ttbringup.comparison import operands

USERS, HEADS, POSITIONS, DIM = 4, 5, 40, 16


@pytest.fixture
def random():
    """A generator of the same numbers in every test."""
    return np.random.default_rng(213919)


@pytest.fixture
def expected(random):
    """A reference [user, head, position, dim]."""
    return random.standard_normal((USERS, HEADS, POSITIONS, DIM))


@pytest.fixture
def output(random, expected):
    """A right output: the reference with an error as small as rounding's."""
    return expected + 1e-3 * random.standard_normal(expected.shape)


@pytest.fixture
def small_blocks(monkeypatch):
    """Read tensors in blocks of 64 elements, so that small tensors have many."""
    monkeypatch.setattr(operands, "BLOCK", 64)
