"""What listeners hear over real HTTP: the pitch and the length that the model spoke."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import pytest

from server.encoding import FORMATS
from streaming import wire
from streaming.fields import SAMPLE_RATES_HZ
from streaming.speech import Recording
from tests.fakes import Tone, ToneScript
from tests.live.peers import talk
from tests.live.talks import check_accounts
from tests.server.rooms import Room, make_room, serving
from tests.server.sounds import decode, pitch_hz

TONE_HZ = 440.0
TEXT = "Hello there, this is a test."
SPEECH_S = len(TEXT) / 20.0
PADDED = ("mp3", "aac")
"""Formats of whole packets: up to two of them, and the encoder's delay, come on top."""


async def tuned(_: Sequence[Recording]) -> Tone:
    return Tone(frequency_hz=TONE_HZ)


@pytest.fixture
async def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Room]:
    made = make_room(tmp_path, ToneScript(characters_per_second=20.0))
    monkeypatch.setattr(made.model, "encode", tuned)
    async with serving(made):
        yield made


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("audio_format", FORMATS)
async def test_a_tone_keeps_its_pitch_and_length(
    room: Room, audio_format: str, streamed: bool
) -> None:
    delivery = {"stream_format": "audio"} if streamed else {"stream": False}
    async with httpx.AsyncClient(base_url=room.url) as client:
        for rate_hz in SAMPLE_RATES_HZ:
            body = {"input": TEXT, "response_format": audio_format, "sample_rate": rate_hz}
            answer = await client.post("/v1/audio/speech", json={**body, **delivery})
            assert answer.headers["x-sample-rate"] == str(rate_hz)
            samples, got_hz = decode(answer.content, audio_format, rate_hz)
            assert got_hz == (48_000 if audio_format == "opus" else rate_hz)
            assert pitch_hz(samples, got_hz) == pytest.approx(TONE_HZ, rel=0.001)
            late_s = 2_400 / rate_hz if audio_format in PADDED else 0.001
            assert SPEECH_S - 0.001 <= len(samples) / got_hz <= SPEECH_S + late_s


@pytest.mark.parametrize("speed", [0.25, 0.6, 1.7, 4.0])
async def test_a_speed_changes_the_length_alone(room: Room, speed: float) -> None:
    async with httpx.AsyncClient(base_url=room.url) as client:
        for audio_format in ("pcm", "opus"):
            body = {"input": TEXT, "response_format": audio_format, "speed": speed}
            answer = await client.post("/v1/audio/speech", json=body)
            samples, rate_hz = decode(answer.content, audio_format, 24_000)
            assert pitch_hz(samples, rate_hz) == pytest.approx(TONE_HZ, rel=0.005)
            assert len(samples) / rate_hz * speed == pytest.approx(SPEECH_S, rel=0.02)


@pytest.mark.parametrize("speed", [0.5, 3.0])
async def test_the_socket_has_the_speed_too(room: Room, speed: float) -> None:
    totals: list[int] = []
    for asked in (1.0, speed):
        async with talk(room, speed=asked) as client:
            await client.send("input.text", text=TEXT)
            await client.send("input.done")
            await client.until(wire.SessionDone)
            totals.append(check_accounts(client).total_samples)
            assert len(client.pcm) == 2 * totals[-1]
    plain, changed = totals
    assert changed * speed == pytest.approx(plain, rel=0.02)
