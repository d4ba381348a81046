"""ElevenLabs' HTTP routes, by its own SDK where that has a word for it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterable
from itertools import pairwise
from typing import Any

import httpx
import pytest
from elevenlabs import AsyncElevenLabs, ElevenLabs, VoiceSettings
from elevenlabs.core import ApiError

from server.dialects.elevenlabs_fields import OUTPUTS
from tests.dialects.conftest import TONE_HZ
from tests.dialects.listening import LONG, TEXT, TOKENS, check_silence, check_whole
from tests.server.rooms import Room
from tests.server.sounds import decode, pitch_hz

SPEECH = "/v1/text-to-speech/anna"


@pytest.fixture
async def sdk(room: Room) -> AsyncIterator[Any]:
    async with httpx.AsyncClient() as client:
        yield AsyncElevenLabs(api_key="any", base_url=room.url, httpx_client=client)


async def whole(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


FEW = ("mp3_44100_128", "pcm_24000", "opus_48000_64")


@pytest.mark.parametrize(("method", "formats"), [("convert", OUTPUTS), ("stream", FEW)])
async def test_the_sdk_speaks_every_format(sdk: Any, method: str, formats: Iterable[str]) -> None:
    for name in formats:
        output = OUTPUTS[name]
        ask = getattr(sdk.text_to_speech, method)
        audio = await whole(ask("anna", text="All of it is heard.", output_format=name))
        samples, rate_hz = decode(audio, output.format, output.sample_rate_hz)
        assert rate_hz == output.sample_rate_hz, name
        assert abs(pitch_hz(samples, rate_hz) / TONE_HZ - 1) < 0.001, name


async def test_the_sdk_gets_the_times_of_characters(room: Room, sdk: Any) -> None:
    room.model.log.clear()
    answer = await sdk.text_to_speech.convert_with_timestamps(
        "anna", text=TEXT, output_format="pcm_24000"
    )
    pcm = base64.b64decode(answer.audio_base_64)
    check_whole(room, pcm, 24_000)
    for alignment in (answer.alignment, answer.normalized_alignment):
        starts = alignment.character_start_times_seconds
        ends = alignment.character_end_times_seconds
        assert "".join(alignment.characters).lower().split() == TEXT.lower().split()
        assert all(a <= b for a, b in pairwise(starts)) and starts[1:] == ends[:-1]
        assert abs(ends[-1] - len(pcm) / 48_000) < 0.001


async def test_the_sdk_gets_times_while_it_streams(room: Room, sdk: Any) -> None:
    pieces = sdk.text_to_speech.stream_with_timestamps("anna", text=TEXT, output_format="pcm_16000")
    lines = [line async for line in pieces]
    pcm = b"".join(base64.b64decode(line.audio_base_64) for line in lines)
    aligned = [line.alignment for line in lines if line.alignment]
    assert len(lines) > len(aligned) > 1
    assert "".join("".join(one.characters) for one in aligned).split() == TEXT.split()
    assert aligned[1].character_start_times_seconds[0] > 0
    assert abs(aligned[-1].character_end_times_seconds[-1] - len(pcm) / 32_000) < 0.001


@pytest.mark.filterwarnings("ignore:ConnectionClosed:DeprecationWarning")
async def test_the_sdk_speaks_while_the_text_is_written(room: Room) -> None:
    """Over its WebSocket, without the TLS that it insists on."""

    def speak() -> bytes:
        with httpx.Client() as client:
            speech = ElevenLabs(api_key="any", base_url=room.url, httpx_client=client)
            speech.text_to_speech._ws_base_url = room.url.replace("http", "ws", 1)
            pieces = speech.text_to_speech.convert_realtime(
                "anna", text=iter(TOKENS), model_id="any", output_format="pcm_24000"
            )
            return b"".join(pieces)

    room.model.log.clear()
    check_whole(room, await asyncio.to_thread(speak), 24_000)


async def test_settings_reach_the_model(room: Room, sdk: Any) -> None:
    await whole(
        sdk.text_to_speech.convert(
            "bert",
            text=TEXT,
            language_code="en",
            seed=11,
            voice_settings=VoiceSettings(speed=1.5, stability=0.4),
            request_options={"additional_body_parameters": {"emotion": {"text": "sad"}}},
        )
    )
    request = room.model.takes[-1].request
    assert (request.voice, request.language, request.seed) == ("bert", "en", 11)
    assert (request.speed, request.emotion.text) == (1.5, "sad")


async def test_the_sdk_lists_voices_and_models(room: Room, sdk: Any) -> None:
    voices = (await sdk.voices.get_all()).voices
    assert {"anna", "bert"} <= {voice.voice_id for voice in voices}
    (model,) = await sdk.models.list()
    assert (model.model_id, model.can_do_text_to_speech) == ("tone", True)
    assert {language.language_id for language in model.languages} == {"en", "zh"}


async def test_errors_are_told_as_elevenlabs_tells_them(room: Room, sdk: Any) -> None:
    with pytest.raises(ApiError) as refused:
        await whole(sdk.text_to_speech.convert("nobody", text=TEXT))
    assert refused.value.status_code == 404
    assert refused.value.body["detail"]["status"] == "voice_not_found"


REFUSED: tuple[tuple[dict[str, Any], str, int, str], ...] = (
    ({"text": ""}, "", 400, "empty_input"),
    ({"text": "..."}, "", 400, "empty_input"),
    ({}, "", 400, "bad_message"),
    ({"text": "x" * 6000}, "", 413, "text_too_long"),
    ({"text": TEXT, "voice_settings": {"speed": 0}}, "", 422, "bad_config"),
    ({"text": TEXT, "seed": "x"}, "", 422, "bad_config"),
    ({"text": TEXT, "language_code": "tlh"}, "", 422, "bad_config"),
    ({"text": TEXT}, "?output_format=mp3_1_1", 400, "unsupported_format"),
)


async def test_every_route_refuses_with_a_typed_error(room: Room) -> None:
    async with httpx.AsyncClient(base_url=room.url) as client:
        for route in ("", "/stream", "/with-timestamps", "/stream/with-timestamps"):
            for body, query, status, code in REFUSED:
                answer = await client.post(SPEECH + route + query, json=body)
                assert answer.status_code == status, (route, body, answer.text)
                detail = answer.json()["detail"]
                assert detail["status"] == code
                assert detail["request_id"] == answer.headers["x-request-id"]


async def test_a_client_that_leaves_stops_its_speech(slow_room: Room) -> None:
    slow_room.model.log.clear()
    async with (
        httpx.AsyncClient(base_url=slow_room.url) as client,
        client.stream(
            "POST", f"{SPEECH}/stream/with-timestamps", json={"text": "".join(LONG)}
        ) as answer,
    ):
        assert json.loads(await anext(answer.aiter_lines()))["audio_base64"]
    await check_silence(slow_room)
