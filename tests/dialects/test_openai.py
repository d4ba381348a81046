"""The official ``openai`` package as it comes: formats, streams, events, lists and exceptions."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import openai
import pytest
import soundfile

from streaming.errors import SynthesisFailed
from tests.dialects.conftest import TONE_HZ
from tests.dialects.listening import TEXT, check_silence, check_whole
from tests.fakes import ToneScript
from tests.server.rooms import Room, make_room, serving
from tests.server.sounds import decode, pitch_hz

Format: TypeAlias = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]

FORMATS: tuple[Format, ...] = ("mp3", "opus", "aac", "flac", "wav", "pcm")
MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg;codecs=opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm;rate=24000",
}
WORDS = "Hello there, this is a test."


def sdk(room: Room, **options: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=f"{room.url}/v1", api_key="none", **{"max_retries": 0, **options}
    )


@pytest.fixture
async def client(room: Room) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk(room) as client:
        yield client


@pytest.mark.parametrize("audio_format", FORMATS)
async def test_every_format_plays(client: openai.AsyncOpenAI, audio_format: Format) -> None:
    spoken = await client.audio.speech.create(
        model="gpt-4o-mini-tts", voice="alloy", input=WORDS, response_format=audio_format
    )
    assert spoken.response.headers["content-type"] == MEDIA_TYPES[audio_format]
    samples, rate_hz = decode(spoken.content, audio_format, 24_000)
    assert pitch_hz(samples, rate_hz) == pytest.approx(TONE_HZ, rel=0.001)
    assert len(samples) / rate_hz == pytest.approx(len(WORDS) / 30, abs=0.15)
    if audio_format in ("wav", "flac", "mp3"):
        read, _ = soundfile.read(io.BytesIO(spoken.content))
        assert len(read) == pytest.approx(len(samples), abs=2_400), "a file as others read it"


async def test_without_a_format_it_is_mp3(client: openai.AsyncOpenAI, tmp_path: Path) -> None:
    spoken = await client.audio.speech.create(model="tts-1", voice="nova", input=WORDS)
    spoken.write_to_file(tmp_path / "speech.mp3")
    assert soundfile.info(tmp_path / "speech.mp3").format == "MP3"


async def test_pcm_is_what_was_spoken(room: Room, client: openai.AsyncOpenAI) -> None:
    spoken = await client.audio.speech.create(
        model="tts-1-hd", voice="echo", input=TEXT, response_format="pcm"
    )
    check_whole(room, spoken.content, 24_000)


@pytest.mark.parametrize("audio_format", FORMATS)
async def test_a_stream_begins_before_the_last_chunk_is_made(
    slow_room: Room, audio_format: Format
) -> None:
    async with (
        sdk(slow_room) as client,
        client.audio.speech.with_streaming_response.create(
            model="tts-1",
            voice="alloy",
            input=TEXT,
            response_format=audio_format,
            stream_format="audio",
        ) as stream,
    ):
        pieces = stream.iter_bytes(chunk_size=64)
        data = await anext(pieces)
        ended = [entry for entry in slow_room.model.log if entry[0] == "end"]
        assert len(ended) < 2, "the second sentence is still to come"
        data += b"".join([piece async for piece in pieces])
    samples, rate_hz = decode(data, audio_format, 24_000)
    assert len(samples) / rate_hz == pytest.approx(len(TEXT) / 15, abs=0.6)


async def test_a_stream_that_is_left_stops_the_engine(slow_room: Room) -> None:
    async with (
        sdk(slow_room) as client,
        client.audio.speech.with_streaming_response.create(
            model="tts-1", voice="alloy", input=TEXT * 8, response_format="pcm"
        ) as stream,
    ):
        await anext(stream.iter_bytes(chunk_size=960))
    await check_silence(slow_room)


async def test_events_carry_audio_and_usage(room: Room, client: openai.AsyncOpenAI) -> None:
    async with client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts",
        voice="alloy",
        input=TEXT,
        response_format="pcm",
        stream_format="sse",
    ) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        lines = [line async for line in stream.iter_lines() if line.startswith("data: ")]
    *deltas, done = [json.loads(line[6:]) for line in lines]
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
    check_whole(room, b"".join(base64.b64decode(delta["audio"]) for delta in deltas), 24_000)
    assert done["type"] == "speech.audio.done"
    assert done["usage"].keys() == {"input_tokens", "output_tokens", "total_tokens"}
    assert done["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("speed", [0.25, 2.0, 4.0])
async def test_speed_keeps_the_pitch(client: openai.AsyncOpenAI, speed: float) -> None:
    async def spoken(speed: float) -> bytes:
        answer = await client.audio.speech.create(
            model="tts-1", voice="alloy", input=WORDS, response_format="pcm", speed=speed
        )
        return answer.content

    plain, changed = await spoken(1.0), await spoken(speed)
    assert len(changed) * speed == pytest.approx(len(plain), rel=0.02)
    samples = np.frombuffer(changed, "<i2").astype(np.float32)
    assert pitch_hz(samples, 24_000) == pytest.approx(TONE_HZ, rel=0.005)


async def test_instructions_and_fields_of_ours(room: Room, client: openai.AsyncOpenAI) -> None:
    spoken = await client.audio.speech.create(
        model="gpt-4o-mini-tts",
        voice={"id": "bert"},
        input=WORDS,
        instructions="Speak in a cheerful tone. " * 40,
        response_format="pcm",
        extra_body={
            "sample_rate": 16_000,
            "language": "en",
            "sampling": {"seed": 3},
            "chunking": {"gap_ms": 50},
            "glossary": {"test": "exam"},
        },
    )
    assert spoken.response.headers["content-type"] == "audio/pcm;rate=16000"
    request = room.model.takes[-1].request
    assert (request.voice, request.seed, request.language) == ("bert", 3, "en")
    assert request.glossary == {"test": "exam"}
    assert (request.emotion.text or "").startswith("Speak in a cheerful tone.")


async def test_the_blocking_client_speaks_too(room: Room) -> None:
    def speak() -> bytes:
        with openai.OpenAI(base_url=f"{room.url}/v1", api_key="none") as client:
            answer = client.audio.speech.create(
                model="tts-1", voice="alloy", input=TEXT, response_format="pcm"
            )
            return answer.content

    check_whole(room, await asyncio.to_thread(speak), 24_000)


async def test_models(client: openai.AsyncOpenAI) -> None:
    (listed,) = (await client.models.list()).data
    assert (listed.id, listed.object) == ("tone", "model")
    assert (await client.models.retrieve("tone")).id == "tone"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("nothing")


REFUSALS: list[tuple[dict[str, Any], type[openai.APIStatusError], str, str]] = [
    ({"input": ""}, openai.BadRequestError, "empty_input", "input"),
    ({"input": "a\u0000"}, openai.BadRequestError, "invalid_text", "input"),
    ({"voice": "nobody"}, openai.NotFoundError, "unknown_voice", "voice"),
    ({"speed": 5.0}, openai.UnprocessableEntityError, "bad_config", "speed"),
    (
        {"response_format": "wma"},
        openai.BadRequestError,
        "unsupported_format",
        "response_format",
    ),
    ({"stream_format": "wav"}, openai.UnprocessableEntityError, "bad_config", "stream_format"),
    (
        {"extra_body": {"emotion": {"reference": "/etc/passwd"}}},
        openai.PermissionDeniedError,
        "reference_refused",
        "emotion.reference",
    ),
]


@pytest.mark.parametrize(
    ("change", "kind", "code", "param"), REFUSALS, ids=[f"{r[2]}-{r[3]}" for r in REFUSALS]
)
async def test_refusals_are_its_exceptions(
    client: openai.AsyncOpenAI,
    change: dict[str, Any],
    kind: type[openai.APIStatusError],
    code: str,
    param: str,
) -> None:
    asked = {"model": "tts-1", "voice": "alloy", "input": WORDS, **change}
    with pytest.raises(kind) as caught:
        await client.audio.speech.create(**asked, extra_headers={"X-Request-Id": "my-own-id"})
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id == "my-own-id"


async def test_overload_and_draining_are_its_exceptions(tmp_path: Path) -> None:
    script = ToneScript(delay_s={"codes": 0.5})
    made = make_room(tmp_path, script, active_requests=1, queued_requests=0)
    async with serving(made) as room, sdk(room) as client:
        asked: dict[str, Any] = {"model": "tts-1", "voice": "alloy", "input": WORDS}
        answers = await asyncio.gather(
            *(client.audio.speech.create(**asked) for _ in range(2)), return_exceptions=True
        )
        (refused,) = (one for one in answers if isinstance(one, openai.RateLimitError))
        assert (refused.code, refused.type) == ("overloaded", "rate_limit_error")
        assert int(refused.response.headers["retry-after"]) >= 1
        async with sdk(room, max_retries=3) as patient:
            both = await asyncio.gather(*(patient.audio.speech.create(**asked) for _ in range(2)))
        assert all(one.content for one in both), "it comes back when it was told to"
        await room.service.drain(1.0)
        with pytest.raises(openai.InternalServerError) as caught:
            await client.audio.speech.create(**asked)
        assert (caught.value.status_code, caught.value.code) == (503, "draining")


async def test_a_failure_is_its_exception(tmp_path: Path) -> None:
    made = make_room(tmp_path, ToneScript(failures={0: SynthesisFailed("it ran away")}))
    async with serving(made) as room, sdk(room) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.audio.speech.create(model="tts-1", voice="alloy", input=WORDS)
    assert (caught.value.status_code, caught.value.code) == (500, "synthesis_failed")
    assert caught.value.type == "server_error"
