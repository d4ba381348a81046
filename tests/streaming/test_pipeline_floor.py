"""A context computes only while it has the floor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import pytest

from streaming.chunks import TextChunk
from streaming.errors import Overloaded
from streaming.events import ChunkDone, Event, SpeechDone
from streaming.pipeline import SpeechPipeline
from tests.fakes import ToneModel
from tests.streaming.contexts import PIECES, REQUEST, VOICE, others, text_chunks, until


class Hall:
    """A floor that others have from time to time."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.free.set()
        self.waiting = self.left = 0
        self.error: Exception | None = None

    async def take(self) -> None:
        """Wait for the others."""
        self.waiting += 1
        try:
            await self.free.wait()
        finally:
            self.waiting -= 1
        if self.error is not None:
            raise self.error

    def leave(self) -> None:
        """Whoever comes next may have it."""
        self.left += 1


class Conversation:
    """Speaks a text whose pieces come one at a time, with the floor taken away before the last."""

    def __init__(self) -> None:
        self.model, self.hall = ToneModel(), Hall()
        self.events: list[Event] = []
        self.go_on = asyncio.Event()
        events = SpeechPipeline(self.model).speak(REQUEST, VOICE, self._chunks(), floor=self.hall)
        self.task = asyncio.create_task(self._listen(events))

    async def _chunks(self) -> AsyncIterator[TextChunk]:
        async for chunk in text_chunks(PIECES[:2]):
            if chunk.is_last:
                await self.go_on.wait()
            yield chunk

    async def _listen(self, events: AsyncGenerator[Event, None]) -> None:
        async with aclosing(events):
            async for event in events:
                self.events.append(event)

    async def lose_the_floor(self) -> None:
        """Come to where the last piece is there and others have the floor."""
        await until(lambda: self.hall.left == 1)
        self.hall.free.clear()
        self.go_on.set()
        await until(lambda: self.hall.waiting == 1)
        for _ in range(20):
            await asyncio.sleep(0)
        assert [event.index for event in self.events if isinstance(event, ChunkDone)] == [0]
        assert [entry for entry in self.model.log if PIECES[1].strip() in entry] == []


async def test_a_chunk_that_comes_late_waits_for_the_floor() -> None:
    talk = Conversation()
    await talk.lose_the_floor()
    talk.hall.free.set()
    await asyncio.wait_for(talk.task, 5.0)
    done = talk.events[-1]
    assert isinstance(done, SpeechDone)
    assert (done.chunks, talk.hall.left) == (2, 2)


async def test_closing_while_it_waits_leaves_nothing() -> None:
    before = others()
    talk = Conversation()
    await talk.lose_the_floor()
    talk.task.cancel()
    await asyncio.wait([talk.task])
    assert (talk.hall.waiting, talk.model.live) == (0, 0)
    assert others() == before


async def test_who_is_turned_away_hears_why() -> None:
    talk = Conversation()
    await talk.lose_the_floor()
    talk.hall.error = Overloaded("full", retry_after_s=1.0)
    talk.hall.free.set()
    with pytest.raises(Overloaded):
        await asyncio.wait_for(talk.task, 5.0)
