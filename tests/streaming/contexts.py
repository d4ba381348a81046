"""A context to speak and ways to look at what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing

from streaming.chunks import TextChunk
from streaming.events import AudioFrame, Event, SpeechDone
from streaming.request import SynthesisRequest
from tests.fakes import Tone

VOICE = Tone(frequency_hz=220.0)


REQUEST = SynthesisRequest(request_id="r1", voice="tone", seed=7)


TEXT = (
    "The first sentence is short enough. The second one goes on for a while, as sentences do. "
    "A third one follows it closely. Then a fourth one comes along, and it ends the whole text."
)


PIECES = ("First piece, ", "second piece, ", "third piece, ", "and the end.")


async def text_chunks(pieces: Iterable[str] = PIECES) -> AsyncIterator[TextChunk]:
    texts = list(pieces)
    start = 0
    for index, text in enumerate(texts):
        yield TextChunk(
            text=text.strip(),
            index=index,
            start=start,
            end=start + len(text.rstrip()),
            is_first=index == 0,
            is_last=index == len(texts) - 1,
        )
        start += len(text)


async def collect(events: AsyncGenerator[Event, None]) -> list[Event]:
    async with aclosing(events):
        return [event async for event in events]


def pcm_of(events: Iterable[Event]) -> bytes:
    return b"".join(event.pcm for event in events if isinstance(event, AudioFrame))


def done_of(events: list[Event]) -> SpeechDone:
    assert isinstance(events[-1], SpeechDone)
    return events[-1]


def others() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is awaited has no event
            await asyncio.sleep(0.001)
