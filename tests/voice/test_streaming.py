"""The embedded checkpoint sounds the same however its text arrives and whoever else is speaking."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import aclosing

import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.asyncio.client import connect

from bench.cancel import Room, nano_room
from indextts.v2.voice import Voice
from streaming import wire
from streaming.chunks import TextChunk
from streaming.events import AudioFrame, ChunkStarted
from streaming.pipeline import SpeechPipeline
from streaming.request import Chunking, SynthesisRequest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TEXT = (
    "The mail came late, so she read it after supper. Two of the letters were from her brother, "
    "who was working on a ship in the north and would not be home before the end of the winter."
)
COMPANY = "Nobody listens to this. It is only here to keep the machine busy for a while."
CHUNKING = Chunking(first_max_tokens=30, max_tokens=40)
"""Small caps, so that there are joins inside sentences."""
SEED = 11
RATE_HZ = 22050
STALL_S = 1.0
JOIN_S, FLOOR, STEP = 0.01, 0.01, 3.0

Pcm = NDArray[np.int16]


async def stream(room: Room, draw: random.Random, voice: str) -> tuple[Pcm, list[wire.AudioStart]]:
    """``TEXT`` over a socket, cut anywhere; the reader stalls once."""
    heard, starts, messages = b"", [], 0
    async with connect(room.url, compression=None) as socket:
        await socket.recv()
        config = {
            "type": "session.config",
            "voice": voice,
            "sampling": {"seed": SEED},
            "chunking": {
                "first_max_tokens": CHUNKING.first_max_tokens,
                "max_tokens": CHUNKING.max_tokens,
            },
        }
        await socket.send(json.dumps(config))
        cuts = sorted(draw.sample(range(1, len(TEXT)), draw.randint(0, 12)))
        for start, end in zip([0, *cuts], [*cuts, len(TEXT)], strict=True):
            await socket.send(json.dumps({"type": "input.text", "text": TEXT[start:end]}))
            await asyncio.sleep(draw.choice((0.0, 0.0, 0.05)))
        await socket.send(json.dumps({"type": "input.done"}))
        stall_at = draw.randint(3, 20)
        async for data in socket:
            messages += 1
            if messages == stall_at:
                await asyncio.sleep(STALL_S)
            if isinstance(data, bytes):
                heard += data
                continue
            message = wire.decode_server(data)
            assert not isinstance(message, wire.Failure), message
            if isinstance(message, wire.AudioStart):
                starts.append(message)
            if isinstance(message, wire.SessionDone):
                return np.frombuffer(heard, "<i2"), starts
    raise AssertionError("the context did not end")


async def offline(room: Room, voice: Voice, texts: list[str]) -> Pcm:
    """One call with the chunks given, nobody else around."""
    request = SynthesisRequest(request_id="offline", voice="v", seed=SEED, chunking=CHUNKING)

    async def chunks() -> AsyncIterator[TextChunk]:
        end = 0
        for index, text in enumerate(texts):
            start = TEXT.index(text, end)
            end = start + len(text)
            last = index == len(texts) - 1
            yield TextChunk(
                text=text, index=index, start=start, end=end, is_first=not index, is_last=last
            )

    pcm = b""
    async with aclosing(SpeechPipeline(room.model).speak(request, voice, chunks())) as events:
        async for event in events:
            if isinstance(event, AudioFrame):
                pcm += event.pcm
            elif isinstance(event, ChunkStarted):
                assert event.text == texts[event.index]
    return np.frombuffer(pcm, "<i2")


async def keep_busy(room: Room, voice: Voice, draw: random.Random, index: int) -> None:
    """Speak something else after a moment."""
    await asyncio.sleep(draw.uniform(0.0, 1.0))
    request = SynthesisRequest(request_id=f"company-{index}", voice="v", seed=index)
    async for _ in SpeechPipeline(room.model).speak_text(request, voice, COMPANY):
        pass


@pytest.fixture(scope="module")
def spoken() -> tuple[list[Pcm], Pcm, list[int]]:
    """``TEXT`` streamed in two random ways, and offline; where its chunks begin."""

    async def speak() -> tuple[list[Pcm], Pcm, list[int]]:
        async with nano_room() as room:
            speaker = room.service.catalog.default
            voice = await room.model.encode(speaker.load())
            ways: list[Pcm] = []
            starts: list[wire.AudioStart] = []
            for seed in (3, 4):
                draw = random.Random(seed)
                async with asyncio.TaskGroup() as group:
                    streamed = group.create_task(stream(room, draw, speaker.name))
                    for index in range(draw.randint(1, 2)):
                        group.create_task(keep_busy(room, voice, draw, index))
                pcm, starts = streamed.result()
                ways.append(pcm)
            alone = await offline(room, voice, [start.sentence_text for start in starts])
        return ways, alone, [start.first_sample for start in starts]

    return asyncio.run(speak())


def test_splits_company_and_a_stalling_reader_change_nothing(
    spoken: tuple[list[Pcm], Pcm, list[int]],
) -> None:
    ways, alone, starts = spoken
    assert len(starts) >= 3
    for pcm in ways:
        assert len(pcm) == len(alone)
        assert np.abs(pcm.astype(int) - alone.astype(int)).max() <= 1


def largest_step(samples: NDArray[np.float64], at: int) -> float:
    """Largest step between neighbouring samples near a join, in RMS of +-10 ms around it."""
    reach = round(JOIN_S * RATE_HZ)
    near = samples[max(0, at - reach) : at + reach]
    return float(np.abs(np.diff(near)).max() / max(FLOOR, np.sqrt((near**2).mean())))


def test_no_join_clicks(spoken: tuple[list[Pcm], Pcm, list[int]]) -> None:
    _, alone, starts = spoken
    samples = alone / 32768.0
    assert [step for at in starts[1:] if (step := largest_step(samples, at)) > STEP] == []


def test_a_click_would_be_noticed(spoken: tuple[list[Pcm], Pcm, list[int]]) -> None:
    _, alone, starts = spoken
    samples = alone / 32768.0
    samples[starts[1]] += 0.2
    assert largest_step(samples, starts[1]) > STEP


def test_another_seed_sounds_different_enough_to_be_told_apart() -> None:
    """The comparison above is not vacuous."""

    async def twice() -> list[Pcm]:
        async with nano_room() as room:
            voice = await room.model.encode(room.service.catalog.default.load())
            requests = [
                SynthesisRequest(request_id=str(seed), voice="v", seed=seed) for seed in (1, 2)
            ]
            found = []
            for request in requests:
                pcm = b""
                async for event in SpeechPipeline(room.model).speak_text(
                    request, voice, "Not yet."
                ):
                    pcm += getattr(event, "pcm", b"")
                found.append(np.frombuffer(pcm, "<i2"))
            return found

    one, other = asyncio.run(twice())
    count = min(len(one), len(other))
    assert len(one) != len(other) or np.abs(one[:count].astype(int) - other[:count]).max() > 1
