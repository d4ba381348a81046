"""HTTP over real sockets: streaming, disconnects, shutdown."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from server.encoding import FORMATS
from streaming.errors import SynthesisFailed
from tests.fakes import ToneScript
from tests.live.peers import nothing_left
from tests.server.rooms import Room, eventually, make_room, serving

SPEECH = "/v1/audio/speech"
TEXT = "Hello there, this is the first sentence. And this one is the second, a bit longer one. "
SLOW = ToneScript(delay_s={"slice": 0.02}, characters_per_second=30.0)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with serving(make_room(tmp_path, SLOW)) as room:
        yield room


@pytest.mark.parametrize("audio_format", FORMATS)
@pytest.mark.parametrize("stream_format", ["audio", "sse"])
async def test_the_first_byte_comes_before_the_last_chunk_is_made(
    room: Room, audio_format: str, stream_format: str
) -> None:
    body = {"input": TEXT * 2, "response_format": audio_format, "stream_format": stream_format}
    async with (
        nothing_left(room),
        httpx.AsyncClient(base_url=room.url) as client,
        client.stream("POST", SPEECH, json=body) as answer,
    ):
        assert answer.status_code == 200
        pieces = answer.aiter_bytes()
        assert await anext(pieces)
        assert [entry for entry in room.model.log if entry[0] == "end"] == []
        assert sum([len(piece) async for piece in pieces]) > 1000


@pytest.mark.parametrize("more", [{"stream": False}, {"stream_format": "audio"}, {"stream": True}])
async def test_a_client_that_leaves_stops_its_speech(room: Room, more: dict[str, object]) -> None:
    async def speaking() -> bool:
        return room.model.live > 0

    async def silent() -> bool:
        return room.model.live == 0 and room.service.admission.active == 0

    async with nothing_left(room):
        async with httpx.AsyncClient(base_url=room.url) as client:
            body = {"input": TEXT * 20, "response_format": "pcm", **more}
            post = asyncio.create_task(client.post(SPEECH, json=body))
            await eventually(speaking)
            post.cancel()
            left_s = time.monotonic()
            await eventually(silent)
            assert time.monotonic() - left_s < 1.0
        assert len([entry for entry in room.model.log if entry[0] == "begin"]) < 5


async def test_a_failure_after_the_first_byte_cuts_raw_audio_short(tmp_path: Path) -> None:
    script = ToneScript(late_failures={1: SynthesisFailed("broke")})
    room = make_room(tmp_path, script)
    async with (
        serving(room),
        nothing_left(room),
        httpx.AsyncClient(base_url=room.url) as client,
    ):
        body = {"input": TEXT * 2, "response_format": "pcm"}
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post(SPEECH, json=body)
        assert (await client.get("/healthz")).status_code == 200


async def test_a_reader_that_stalls_is_let_go(tmp_path: Path) -> None:
    script = ToneScript(runaway=frozenset({0}), slice_ms=1000.0)
    room = make_room(tmp_path, script, write_stall_s=0.3)

    async def silent() -> bool:
        return room.model.live == 0

    async with serving(room), nothing_left(room):
        port = int(room.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        body = json.dumps({"input": TEXT, "response_format": "pcm", "sample_rate": 48_000})
        head = f"POST {SPEECH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write((head + body).encode())
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        await eventually(silent)
        writer.transport.abort()


async def test_draining_refuses_newcomers_and_finishes_the_rest(room: Room) -> None:
    async with httpx.AsyncClient(base_url=room.url) as client:
        body = {"input": TEXT, "response_format": "wav"}
        live = asyncio.create_task(client.post(SPEECH, json=body))

        async def speaking() -> bool:
            return room.model.live > 0

        async def draining() -> bool:
            return (await client.get("/readyz")).status_code == 503

        await eventually(speaking)
        assert room.server is not None
        room.server.should_exit = True
        await eventually(draining)
        refused = await client.post(SPEECH, json={"input": "Hello."})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "draining"
        assert refused.headers["retry-after"]
        answer = await live
        assert (answer.status_code, int(answer.headers["content-length"])) == (
            200,
            len(answer.content),
        )


async def test_the_grace_period_ends(tmp_path: Path) -> None:
    script = ToneScript(delay_s={"slice": 0.02}, runaway=frozenset({0}))
    started_s = time.monotonic()
    room = make_room(tmp_path, script, grace_s=0.2)

    async def speaking() -> bool:
        return room.model.live > 0

    async with httpx.AsyncClient() as client:
        async with serving(room):
            post = asyncio.create_task(client.post(room.url + SPEECH, json={"input": TEXT}))
            await eventually(speaking)
        with pytest.raises(httpx.RemoteProtocolError):
            await post
    assert room.model.live == 0
    assert time.monotonic() - started_s < 8.0
