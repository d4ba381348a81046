"""Text reaches the chunker in order, and a clause does not wait for ever."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from server.feed import TextFeed
from streaming.chunks import TextChunk, TextChunker


def chunker() -> TextChunker:
    return TextChunker(estimate_tokens=len, first_max_tokens=30, max_tokens=60)


async def collect(feed: TextFeed, flush_after_s: float = 60.0) -> list[TextChunk]:
    return [chunk async for chunk in feed.chunks(chunker(), flush_after_s)]


async def test_a_whole_text_loses_nothing() -> None:
    text = "A sentence of some words, and more. " * 200
    chunks = await collect(TextFeed.whole(text))
    assert " ".join(chunk.text for chunk in chunks).split() == text.split()
    assert len(chunks) > 50


async def test_a_clause_is_flushed_after_silence_and_half_a_word_is_not() -> None:
    feed = TextFeed()
    chunks = feed.chunks(chunker(), 0.05)
    feed.put("Well,")
    started_s = time.monotonic()
    first = await anext(chunks)
    assert time.monotonic() - started_s >= 0.045
    assert first.text.strip() == "Well,"
    feed.put("half a wor")
    waiting = asyncio.create_task(collect_rest(chunks))
    await asyncio.sleep(0.15)
    assert not waiting.done()
    feed.put("d.")
    feed.finish()
    assert "".join(await waiting).strip() == "half a word."


async def collect_rest(chunks: object) -> list[str]:
    assert hasattr(chunks, "__aiter__")
    return [chunk.text async for chunk in chunks]


async def test_flush_gives_what_is_there() -> None:
    feed = TextFeed()
    chunks = feed.chunks(chunker(), 60.0)
    feed.put("half a wor")
    feed.flush()
    assert (await anext(chunks)).text.strip() == "half a wor"
    await chunks.aclose()


class Counting(TextChunker):
    flushes = 0

    def flush(self) -> list[TextChunk]:
        self.flushes += 1
        return super().flush()


async def test_a_flood_of_flushes_is_one() -> None:
    feed = TextFeed()
    one = Counting(estimate_tokens=len, first_max_tokens=30, max_tokens=60)
    for _ in range(1000):
        feed.flush()
    feed.put("So.")
    feed.flush()
    feed.finish()
    assert [chunk.text async for chunk in feed.chunks(one, 60.0)] == ["So."]
    assert one.flushes == 2


class Watched(TextChunker):
    """Counts what it is fed."""

    fed = 0

    def feed(self, text: str) -> list[TextChunk]:
        self.fed += len(text)
        return super().feed(text)


@pytest.mark.parametrize("unit", [" ", "<break/>", "1", "word "])
async def test_others_get_their_turn_while_a_long_text_is_cut(unit: str) -> None:
    one = Watched(estimate_tokens=len, first_max_tokens=30, max_tokens=60)
    seen = [0]

    async def look_on() -> None:
        while one.fed < 4_000:
            await asyncio.sleep(0)
            seen.append(one.fed)

    feed = TextFeed.whole((unit * 4_000)[:4_000])
    async with asyncio.TaskGroup() as group:
        group.create_task(look_on())
        async for _ in feed.chunks(one, 60.0):
            pass
    assert max(after - before for before, after in itertools.pairwise(seen)) <= 32
    assert one.fed == 4_000
