"""The HTTP client on a real socket: streamed speech, events, voices, refusals, broken servers."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

import client.http
from client.errors import BrokenProtocol, CannotConnect, ConnectionLost
from client.http import HttpClient
from streaming.errors import Draining, EmptyInput, Internal, Overloaded, SynthesisFailed
from tests.client.peer import VOICES

AUDIO = bytes(range(256)) * 64


class Answer:
    """One canned answer on a free port; ``pieces`` are sent one by one, ``whole`` says the end."""

    def __init__(
        self, pieces: list[bytes], *, status: int = 200, headers: str = "", whole: bool = True
    ) -> None:
        self.pieces = pieces
        self.head = f"HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n{headers}\r\n".encode()
        self.whole = whole
        self.url = ""
        self.request: dict[str, Any] = {}
        self.path = ""
        self.handling: list[asyncio.Task[None] | None] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.handling.append(asyncio.current_task())
        with suppress(ConnectionError):  # a client that has heard enough hangs up
            await self._answer(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        self.path = head.split()[1]
        if "content-length: " in head:
            length = int(head.split("content-length: ")[1].split("\r\n")[0])
            self.request = json.loads(await reader.readexactly(length))
        writer.write(self.head)
        for piece in self.pieces:
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0)
        if self.whole:
            writer.write(b"0\r\n\r\n")


@asynccontextmanager
async def client_of(answer: Answer) -> AsyncIterator[HttpClient]:
    async with await asyncio.start_server(answer.handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with HttpClient(f"http://127.0.0.1:{port}") as http:
            yield http
        await asyncio.gather(*filter(None, answer.handling))


def event(**fields: Any) -> bytes:
    return f"data: {json.dumps(fields)}\n\n".encode()


def delta(audio: bytes) -> bytes:
    return event(type="speech.audio.delta", audio=base64.b64encode(audio).decode())


async def collect(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def test_speech_is_streamed_as_it_is_made() -> None:
    answer = Answer([AUDIO[:100], AUDIO[100:]])
    async with client_of(answer) as http:
        assert await collect(http.speech("hello", {"voice": "anna", "speed": 1.5})) == AUDIO
    assert answer.path == "/v1/audio/speech"
    assert answer.request == {
        "input": "hello",
        "voice": "anna",
        "speed": 1.5,
        "response_format": "pcm",
        "stream_format": "audio",
    }


@pytest.mark.parametrize("size", [3, 50, 1_000_000])
async def test_events_may_be_cut_anywhere(size: int) -> None:
    stream = b": hello\n\n" + delta(AUDIO[:999]) + b":\r\n\r\n" + delta(AUDIO[999:])
    stream += event(type="speech.audio.done", usage={})
    answer = Answer(
        [stream[start : start + size] for start in range(0, len(stream), size)][:30_000]
    )
    async with client_of(answer) as http:
        assert await collect(http.speech_events("hello")) == AUDIO
    assert answer.request["stream_format"] == "sse"


async def test_an_error_after_the_first_byte_is_raised() -> None:
    failed = event(
        type="speech.audio.error", error={"code": "synthesis_failed", "message": "it ran away"}
    )
    heard = []
    async with client_of(Answer([delta(AUDIO), failed])) as http:
        with pytest.raises(SynthesisFailed, match="it ran away"):
            async for piece in http.speech_events("hello"):
                heard.append(piece)
    assert heard == [AUDIO]


@pytest.mark.parametrize(
    ("pieces", "whole", "kind"),
    [
        ([delta(AUDIO)], True, ConnectionLost),
        ([delta(AUDIO)], False, ConnectionLost),
        ([b"data: {\n\n"], True, BrokenProtocol),
        ([b"data: []\n\n"], True, BrokenProtocol),
        ([event(type="speech.audio.delta", audio="!")], True, BrokenProtocol),
        ([event(type="speech.audio.delta", audio=5)], True, BrokenProtocol),
        ([b"data: " + b"x" * 2_000], True, BrokenProtocol),
    ],
    ids=["early", "cut", "json", "array", "base64", "number", "endless"],
)
async def test_a_broken_stream_is_told_apart(
    pieces: list[bytes], whole: bool, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.http, "MAX_EVENT_BYTES", 1_000)
    async with client_of(Answer(pieces, whole=whole)) as http:
        with pytest.raises(kind):
            await collect(http.speech_events("hello"))


async def test_refusals_are_typed() -> None:
    body = json.dumps({"error": {"code": "overloaded", "message": "later", "param": None}}).encode()
    headers = "Retry-After: 3\r\nx-request-id: r-1\r\n"
    async with client_of(Answer([body], status=429, headers=headers)) as http:
        with pytest.raises(Overloaded, match="later") as caught:
            await collect(http.speech("hello"))
    assert (caught.value.retry_after_s, caught.value.request_id) == (3.0, "r-1")
    body = json.dumps(
        {"error": {"code": "empty_input", "message": "no", "param": "input"}}
    ).encode()
    async with client_of(Answer([body], status=400)) as http:
        with pytest.raises(EmptyInput) as empty:
            await collect(http.speech_events(""))
    assert empty.value.param == "input"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (503, b"<html>", Draining),
        (500, b"", Internal),
        (500, b'{"error": "text"}', Internal),
        (404, b"[1]", Internal),
    ],
)
async def test_a_refusal_without_our_words_goes_by_its_status(
    status: int, body: bytes, kind: type[Exception]
) -> None:
    async with client_of(Answer([body] if body else [], status=status)) as http:
        with pytest.raises(kind):
            await collect(http.speech("hello"))


async def test_voices_are_listed_with_what_is_wrong_with_them() -> None:
    async with client_of(Answer([json.dumps(VOICES).encode()])) as http:
        anna, bert = await http.voices()
    assert (anna.id, anna.language, anna.unavailable) == ("anna", "en", None)
    assert (bert.id, bert.unavailable) == ("bert", "bert.wav: the recording is empty")


@pytest.mark.parametrize("body", [b"{", b"{}", b'{"voices": [{}]}', b'{"voices": 3}', b"[]"])
async def test_no_list_of_voices_is_a_broken_protocol(body: bytes) -> None:
    async with client_of(Answer([body])) as http:
        with pytest.raises(BrokenProtocol):
            await http.voices()


async def test_an_endless_list_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.http, "MAX_LIST_BYTES", 1_000)
    async with client_of(Answer([b" " * 400] * 1_000)) as http:
        with pytest.raises(BrokenProtocol, match="too big"):
            await http.voices()


async def test_a_connection_that_breaks_is_lost() -> None:
    async with client_of(Answer([AUDIO], whole=False)) as http:
        with pytest.raises(ConnectionLost):
            await collect(http.speech("hello"))


async def test_nobody_there_cannot_be_connected_to_and_is_not_ready() -> None:
    async with client_of(Answer([])) as http:
        assert await http.ready()
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()
    async with HttpClient(url) as http:
        assert not await http.ready()
        with pytest.raises(CannotConnect):
            await http.voices()
        with pytest.raises(CannotConnect, match=r"not ready within 0\.3 s"):
            await http.wait_ready(0.3)
    with pytest.raises(CannotConnect):
        HttpClient("nonsense")
