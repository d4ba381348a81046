"""Fixtures of the tests on real sockets."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.fakes import ToneScript
from tests.live.talks import SLOW
from tests.server.rooms import Room, make_room, serving


@pytest.fixture(autouse=True, scope="module")
def small_heap() -> Iterator[None]:
    """Set aside what earlier tests left, so that looking for leaks takes no time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with serving(make_room(tmp_path, ToneScript(characters_per_second=60.0))) as room:
        yield room


@pytest.fixture
async def slow_room(tmp_path: Path) -> AsyncIterator[Room]:
    async with serving(make_room(tmp_path, SLOW)) as room:
        yield room
