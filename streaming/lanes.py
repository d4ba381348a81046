"""A chunk on its way from the model to the listener."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from streaming.speech import ChunkReport, Prepared, Samples, Urgency


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One prepared piece of a text chunk and its place in the context.

    ``joins`` tells that the next segment of the same text chunk follows, ``is_last`` that nothing
    does.
    """

    prepared: Prepared
    index: int
    text_start: int
    text_end: int
    joins: bool
    is_last: bool


class Lane:
    """Bounded queue between the task that produces a chunk and the consumer that sends it."""

    def __init__(self, segment: Segment, *, urgency: Urgency, room: int, expected: float) -> None:
        self.segment = segment
        self.urgency = urgency
        self.queued = 0
        self._room = room
        self._expected = expected
        self._produced = 0
        self._items: deque[Samples] = deque()
        self._outcome: ChunkReport | Exception | None = None
        self._changed = asyncio.Event()

    @property
    def produced(self) -> int:
        """Samples the model has given so far."""
        return self._produced

    @property
    def missing(self) -> float:
        """Samples that are still expected of the model."""
        return 0.0 if self._outcome else max(0.0, self._expected - self._produced)

    async def put(self, samples: Samples) -> None:
        """Add samples once there is room; one array may exceed it."""
        while self.queued >= self._room:
            await self._change()
        self._items.append(samples)
        self.queued += len(samples)
        self._produced += len(samples)
        self._changed.set()

    def finish(self, outcome: ChunkReport | Exception) -> None:
        """The chunk is complete or has failed; the first call counts."""
        self._outcome = self._outcome or outcome
        self._changed.set()

    async def get(self) -> Samples | ChunkReport:
        """The next samples, then the report; raises what the chunk failed with, in its place."""
        while not self._items:
            if isinstance(self._outcome, Exception):
                raise self._outcome
            if self._outcome is not None:
                return self._outcome
            await self._change()
        samples = self._items.popleft()
        self.queued -= len(samples)
        self._changed.set()
        return samples

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class Stopwatch:
    """Sums the time during which at least one of several tasks computes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._running = 0
        self._total_s = 0.0
        self._since_s = 0.0

    @property
    def total_s(self) -> float:
        """Seconds so far."""
        return self._total_s + (self._clock() - self._since_s if self._running else 0.0)

    def __enter__(self) -> None:
        if self._running == 0:
            self._since_s = self._clock()
        self._running += 1

    def __exit__(self, *_: object) -> None:
        self._running -= 1
        if self._running == 0:
            self._total_s += self._clock() - self._since_s
