"""Fixtures of the tests on real sockets."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def small_heap() -> Iterator[None]:
    """Set aside what earlier tests left, so that looking for leaks takes no time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
