"""Deepgram's ``/v1/speak``, by its own SDK and message by message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from deepgram import AsyncDeepgramClient
from deepgram.core.api_error import ApiError
from deepgram.environment import DeepgramClientEnvironment
from deepgram.speak.v1.types import SpeakV1Text
from websockets.exceptions import InvalidStatus

from server.dialects.deepgram_http import ENCODINGS
from server.fetching import Fetcher
from server.references import References
from tests.dialects.conftest import TONE_HZ
from tests.dialects.listening import LONG, TEXT, TOKENS, check_silence, check_whole
from tests.dialects.peers import Peer, peer
from tests.live.hostile import Network, Resolver
from tests.live.peers import nothing_left
from tests.server.rooms import Room
from tests.server.sounds import decode, pitch_hz

SPEAK = "/v1/speak?model=anna&encoding=linear16&sample_rate=24000"
FORMATS = {"linear16": "pcm", "mulaw": "ulaw", "alaw": "alaw"}


async def utterance(client: Peer, *tokens: str) -> None:
    for token in tokens:
        await client.send(type="Speak", text=token)
    await client.send(type="Flush")


async def test_an_utterance_from_metadata_to_flushed(room: Room) -> None:
    async with nothing_left(room), peer(room, SPEAK) as client:
        room.model.log.clear()
        metadata = await client.until(type="Metadata")
        assert metadata["model_name"] == "tone" and metadata["request_id"]
        await utterance(client, *TOKENS)
        assert await client.until(type="Flushed") == {"type": "Flushed", "sequence_id": 0}
        check_whole(room, b"".join(client.binary()), 24_000)
        assert room.model.takes[-1].request.voice == "anna"
        await client.send(type="Close")
        assert await client.end() == 1000


@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
async def test_telephony_comes_in_frames_of_exactly_20_ms(
    room: Room, encoding: str, rate_hz: int
) -> None:
    async with peer(room, f"/v1/speak?encoding={encoding}&sample_rate={rate_hz}") as client:
        for _ in range(2):
            await utterance(client, *TOKENS)
            await client.until(type="Flushed")
        frames = client.binary()
    assert {len(frame) for frame in frames} == {rate_hz // 50}
    samples, _ = decode(b"".join(frames), FORMATS[encoding], rate_hz)
    assert abs(pitch_hz(samples, rate_hz) / TONE_HZ - 1) < 0.001
    assert abs(samples[-16:]).max() < 0.01, "the last frame is filled with silence"


async def test_every_encoding_of_the_socket(room: Room) -> None:
    for encoding, audio_format in FORMATS.items():
        for rate_hz in sorted(set(ENCODINGS[encoding].rates_hz)):
            target = f"/v1/speak?encoding={encoding}&sample_rate={rate_hz}&container=none"
            async with peer(room, target) as client:
                await utterance(client, "A sentence to be heard at every rate.")
                await client.until(type="Flushed")
            samples, _ = decode(b"".join(client.binary()), audio_format, rate_hz)
            assert abs(pitch_hz(samples, rate_hz) / TONE_HZ - 1) < 0.001, (encoding, rate_hz)


async def test_clear_is_the_barge_in(slow_room: Room) -> None:
    async with nothing_left(slow_room), peer(slow_room, SPEAK) as client:
        await utterance(client, *LONG)
        await utterance(client, *TOKENS)
        while not client.binary():
            await client.next()
        await client.send(type="Clear")
        await client.until(type="Cleared")
        heard = len(client.binary())
        await check_silence(slow_room)
        await utterance(client, *TOKENS)
        await client.until(type="Flushed")
        assert len(client.messages(type="Flushed")) == 1
        check_whole(slow_room, b"".join(client.binary()[heard:]), 24_000)
        await client.send(type="Clear")
        await client.until(type="Cleared")
        numbers = [item["sequence_id"] for item in client.messages() if "sequence_id" in item]
        assert numbers == [0, 1, 2]


async def test_utterances_are_spoken_in_order_and_each_flush_is_answered(room: Room) -> None:
    async with peer(room, SPEAK) as client:
        await client.send(type="Flush")
        await client.until(type="Flushed", sequence_id=0)
        assert not client.binary()
        room.model.log.clear()
        await utterance(client, "The first one. ")
        await utterance(client, "The second one. ")
        await client.send(type="Flush")
        await client.send(type="Speak", text="  ")
        for number in (1, 2, 3):
            await client.until(type="Flushed", sequence_id=number)
        begun = [text for kind, text, _ in room.model.log if kind == "begin"]
        assert begun == ["The first one.", "The second one."]


async def test_close_speaks_what_is_left(room: Room) -> None:
    async with nothing_left(room), peer(room, SPEAK) as client:
        room.model.log.clear()
        await client.send(type="Speak", text=TEXT)
        await client.send(type="Close")
        assert await client.end() == 1000
        check_whole(room, b"".join(client.binary()), 24_000)


async def test_settings_of_ours_and_a_voice_that_only_deepgram_has(room: Room) -> None:
    target = "/v1/speak?model=aura-2-thalia-en&speed=1.5&language=en&mip_opt_out=true"
    async with peer(room, target) as client:
        await client.send(type="Speak", text=TEXT, sampling={"seed": 5}, emotion={"text": "sad"})
        await client.send(type="Flush")
        await client.until(type="Flushed")
    request = room.model.takes[-1].request
    assert (request.voice, request.speed, request.language) == ("anna", 1.5, "en")
    assert (request.seed, request.emotion.text) == (5, "sad")


WARNED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"type": "Speak", "text": 5}, "bad_message"),
    ({"type": "Speak", "text": "Hello.", "speed": 99}, "bad_config"),
    ({"type": "Speak", "text": "a\ud800b"}, "invalid_text"),
    ({"type": "Speak", "text": "x" * 3000}, "text_too_long"),
    ({"type": "Shout"}, "bad_message"),
)


async def test_warnings_name_what_was_wrong_and_nothing_ends(room: Room) -> None:
    async with nothing_left(room), peer(room, SPEAK) as client:
        for message, code in WARNED:
            await client.send(**message)
            warning = await client.until(type="Warning", code=code)
            assert warning["description"] == warning["warn_msg"] != ""
        await utterance(client, "...")
        await client.until(type="Warning", code="empty_input")
        await client.until(type="Flushed")
        await utterance(client, *TOKENS)
        await client.until(type="Flushed")
        assert client.binary()
        for _ in range(3):
            await client.socket.send(b"binary")
        assert await client.end() == 1008


UNSERVED = (
    ("encoding=mp3", 400, "UNSUPPORTED_FORMAT"),
    ("encoding=linear16&sample_rate=1", 400, "UNSUPPORTED_FORMAT"),
    ("encoding=mulaw&sample_rate=48000", 400, "UNSUPPORTED_FORMAT"),
    ("container=wav", 400, "UNSUPPORTED_FORMAT"),
    ("model=nobody", 404, "UNKNOWN_VOICE"),
    ("speed=fast", 422, "BAD_CONFIG"),
    ("speed=nan", 422, "BAD_CONFIG"),
    ("language=tlh", 422, "BAD_CONFIG"),
)


async def test_what_cannot_be_served_is_refused_in_the_handshake(room: Room) -> None:
    for query, status, code in UNSERVED:
        with pytest.raises(InvalidStatus) as refused:
            async with peer(room, f"/v1/speak?{query}"):
                pass
        answer = refused.value.response
        assert answer.status_code == status, query
        assert json.loads(answer.body or b"")["err_code"] == code


async def test_a_client_that_leaves_stops_its_speech(slow_room: Room) -> None:
    async with nothing_left(slow_room):
        async with peer(slow_room, SPEAK) as client:
            await utterance(client, *LONG)
            while not client.binary():
                await client.next()
        await check_silence(slow_room)


@pytest.fixture
async def sdk(room: Room) -> AsyncIterator[Any]:
    socket_url = room.url.replace("http", "ws", 1)
    places = DeepgramClientEnvironment(
        base=room.url, production=socket_url, agent=socket_url, agent_rest=room.url
    )
    async with httpx.AsyncClient() as client:
        yield AsyncDeepgramClient(api_key="any", environment=places, httpx_client=client)


old_websockets = pytest.mark.filterwarnings("ignore:websockets:DeprecationWarning")
"""Deepgram's SDK uses the client that websockets has long replaced."""

CONTAINERS = [(name, c) for name, one in ENCODINGS.items() for c in one.containers]


@old_websockets
async def test_the_sdk_speaks_over_its_socket(room: Room, sdk: Any) -> None:
    room.model.log.clear()
    pcm, told = b"", []
    async with sdk.speak.v1.connect(model="anna", encoding="linear16", sample_rate=24000) as socket:
        await socket.send_text(SpeakV1Text(text=TEXT))
        await socket.send_flush()
        async for message in socket:
            if isinstance(message, bytes):
                pcm += message
                continue
            told.append(message.type)
            if message.type == "Flushed":
                await socket.send_close()
    assert told == ["Metadata", "Flushed"]
    check_whole(room, pcm, 24_000)


@old_websockets
async def test_the_sdk_speaks_every_encoding_over_http(sdk: Any) -> None:
    for encoding, container in CONTAINERS:
        pieces = sdk.speak.v1.audio.generate(
            text="A sentence to be heard in every encoding.",
            model="anna",
            encoding=encoding,
            container=container,
        )
        audio = b"".join([piece async for piece in pieces])
        kind, rate_hz = ENCODINGS[encoding].format, ENCODINGS[encoding].rates_hz[0]
        samples, heard_hz = decode(audio, "wav" if container == "wav" else kind, rate_hz)
        assert heard_hz == rate_hz, (encoding, container)
        assert abs(pitch_hz(samples, heard_hz) / TONE_HZ - 1) < 0.001, (encoding, container)


@old_websockets
async def test_the_sdk_hears_of_errors(sdk: Any) -> None:
    with pytest.raises(ApiError) as refused:
        async for _ in sdk.speak.v1.audio.generate(text=TEXT, model="nobody"):
            pass
    assert refused.value.status_code == 404
    assert refused.value.body["err_code"] == "UNKNOWN_VOICE"


REFUSED: tuple[tuple[dict[str, Any], str, int, str], ...] = (
    ({"text": ""}, "", 400, "EMPTY_INPUT"),
    ({}, "", 400, "BAD_MESSAGE"),
    ({"url": "http://127.0.0.1/text"}, "", 403, "REFERENCE_REFUSED"),
    ({"text": TEXT}, "?encoding=midi", 400, "UNSUPPORTED_FORMAT"),
    ({"text": TEXT}, "?encoding=mp3&bit_rate=1", 422, "BAD_CONFIG"),
    ({"text": TEXT}, "?encoding=mp3&bit_rate=99999999999", 422, "BAD_CONFIG"),
    ({"text": TEXT}, "?encoding=opus&container=wav", 400, "UNSUPPORTED_FORMAT"),
    ({"text": TEXT}, "?encoding=flac&sample_rate=7", 400, "UNSUPPORTED_FORMAT"),
)


async def test_http_refuses_with_a_typed_error(room: Room) -> None:
    async with httpx.AsyncClient(base_url=room.url) as client:
        for body, query, status, code in REFUSED:
            answer = await client.post(f"/v1/speak{query}", json=body)
            assert answer.status_code == status, (body, query, answer.text)
            assert answer.json()["err_code"] == code
            assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_a_text_by_url_where_the_host_is_allowed(room: Room) -> None:
    bodies = {"/text": TEXT.encode(), "/bytes": b"\xff\xfe"}

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readline()).split()[1].decode()
        body = bodies.get(path)
        head = "404 Not Found" if body is None else f"200 OK\r\nContent-Length: {len(body)}"
        writer.write(f"HTTP/1.1 {head}\r\nConnection: close\r\n\r\n".encode() + (body or b""))
        writer.close()

    network, casting = Network(), room.service.casting
    fetcher = Fetcher(["good.example"], max_bytes=10_000, resolve=Resolver(), network=network)
    casting.references = References(decode=casting.sandbox.decode, fetcher=fetcher)
    async with (
        await asyncio.start_server(origin, "127.0.0.1", 0) as server,
        httpx.AsyncClient(base_url=room.url) as client,
    ):
        network.origin_port = server.sockets[0].getsockname()[1]
        room.model.log.clear()
        target = "/v1/speak?encoding=linear16&container=none"
        answer = await client.post(target, json={"url": "http://good.example/text"})
        check_whole(room, answer.content, 24_000)
        for url, code in (
            ("http://good.example/bytes", "BAD_MESSAGE"),
            ("http://good.example/none", "BAD_MESSAGE"),
            ("http://bad.example/text", "REFERENCE_REFUSED"),
            ("/etc/passwd", "BAD_MESSAGE"),
            (5, "BAD_MESSAGE"),
        ):
            refused = await client.post(target, json={"url": url})
            assert refused.json()["err_code"] == code, url
            assert refused.json()["param"] == "url"
