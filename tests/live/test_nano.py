"""The embedded checkpoint behind a real socket: it speaks, stops at once and leaves nothing."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import wave

import httpx
import numpy as np
import psutil
import pytest
from websockets.asyncio.client import connect

from bench.cancel import Room, measure, nano_room
from streaming import wire
from tests.server.rooms import eventually

pytestmark = pytest.mark.timeout(300)

TEXT = "Good morning. The train leaves at a quarter past nine."


def http_url(room: Room) -> str:
    return room.url.replace("ws://", "http://").removesuffix("/v1/audio/speech/stream")


async def listen(url: str, text: str, **config: object) -> tuple[bytes, list[wire.ServerMessage]]:
    """All audio and all messages of one context."""
    heard, messages = b"", []
    async with connect(url, compression=None) as socket:
        await socket.recv()
        await socket.send(json.dumps({"type": "session.config", **config}))
        for piece in (text[:7], text[7:11], text[11:]):
            await socket.send(json.dumps({"type": "input.text", "text": piece}))
        await socket.send(json.dumps({"type": "input.done"}))
        async for data in socket:
            if isinstance(data, bytes):
                heard += data
                continue
            messages.append(wire.decode_server(data))
            if isinstance(messages[-1], wire.SessionDone | wire.Failure):
                return heard, messages
    raise AssertionError("the context did not end")


async def test_it_speaks_streams_and_repeats_itself() -> None:
    async with nano_room() as room:
        first, messages = await listen(room.url, TEXT, sampling={"seed": 5})
        again, _ = await listen(room.url, TEXT, sampling={"seed": 5})
    done = messages[-1]
    assert isinstance(done, wire.SessionDone)
    assert done.total_samples == len(first) // 2
    samples = np.frombuffer(first, "<i2").astype(np.float32) / 32768
    seconds = samples.size / 22_050
    assert 2.0 < seconds < 12.0, "fifty letters take some seconds"
    loud = np.sqrt((samples**2).mean())
    assert 0.005 < loud < 0.5
    assert len(again) == len(first)
    difference = samples - np.frombuffer(again, "<i2").astype(np.float32) / 32768
    assert np.abs(difference).max() < 2e-3, "the same seed sounds the same"


async def test_http_gives_a_whole_wav_at_the_models_words() -> None:
    async with nano_room() as room, httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(
            f"{http_url(room)}/v1/audio/speech",
            json={"model": "tts-1", "input": TEXT, "voice": "alloy", "response_format": "wav"},
        )
    assert answer.status_code == 200, answer.text
    with wave.open(io.BytesIO(answer.content)) as sound:
        assert sound.getnchannels() == 1 and sound.getsampwidth() == 2
        assert sound.getnframes() / sound.getframerate() > 2.0


@pytest.mark.slow
async def test_cancel_stops_everything_at_once() -> None:
    async with nano_room() as room:
        figures = await measure(room, 40, probes=1)
    assert figures.late_audio == 0
    assert figures.left_in_engine == 0
    assert figures.late_items == 0
    assert figures.p95_ms <= 100


async def test_clients_that_vanish_leave_nothing() -> None:
    process = psutil.Process()

    async def vanish(delay_s: float) -> None:
        socket = await connect(room.url, compression=None)
        await socket.recv()
        await socket.send(json.dumps({"type": "input.text", "text": TEXT * 3}))
        await asyncio.sleep(delay_s)
        socket.transport.abort()

    def left() -> tuple[int, int, int, int]:
        gc.collect()
        requests = len(room.model.engine.active) + room.worker.waiting
        places = room.service.admission.active + room.service.sessions
        return len(asyncio.all_tasks()), process.num_fds(), requests, places

    async with nano_room() as room:
        await listen(room.url, TEXT)
        await vanish(0.05)
        await asyncio.sleep(0.5)
        before = left()
        memory_before = process.memory_info().rss
        async with asyncio.TaskGroup() as group:
            for index in range(12):
                group.create_task(vanish(0.05 * index))

        async def same() -> bool:
            return left() == before

        await eventually(same, timeout_s=15.0)
        assert process.memory_info().rss - memory_before < 200 * 2**20
        audio, messages = await listen(room.url, TEXT)
        assert audio and isinstance(messages[-1], wire.SessionDone)
