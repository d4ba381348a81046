"""A real worker that the tests can stop, watch and break; what a generation gives alone."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest
import torch

from indextts.engines.base import Generation, SamplingParams
from indextts.engines.decode_batch import DecodeBatch, Row
from indextts.gpt.model import EmotiveGpt
from indextts.tensors import Prompt
from streaming.speech import Urgency
from streaming.worker import DeviceWorker

T = TypeVar("T")


class WatchedWorker(DeviceWorker):
    """``begun_items`` lists the names of items in the order they began.

    ``fail_next`` maps a name to an error that its next item raises instead of working; ``hold``
    keeps items from being worked on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.begun_items: list[str] = []
        self.fail_next: dict[str, Exception] = {}
        self._open = threading.Event()
        self._open.set()

    @contextmanager
    def hold(self) -> Iterator[None]:
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    async def run(self, work: Callable[[], T], urgency: Urgency, *, name: str = "") -> T:
        def watched() -> T:
            self.begun_items.append(name)
            assert self._open.wait(timeout=30)
            if error := self.fail_next.pop(name, None):
                raise error
            return work()

        return await super().run(watched, urgency, name=name)


@pytest.fixture
async def worker() -> AsyncIterator[WatchedWorker]:
    watched = WatchedWorker()
    async with watched:
        yield watched


def alone(model: EmotiveGpt, prompt: Prompt, params: SamplingParams) -> Generation:
    batch = DecodeBatch(model, rows=1, positions=model.sizes.max_positions)
    row = Row(params=params)
    batch.join(row, prompt)
    while not row.ended:
        batch.step()
    assert row.outcome is not None
    return row.outcome


def assert_same(got: Generation, want: Generation) -> None:
    assert got.codes.tolist() == want.codes.tolist()
    assert got.stopped == want.stopped
    torch.testing.assert_close(got.latents, want.latents, atol=1e-4, rtol=0)
