"""HTTP in process: formats, delivery, refusals."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import wave
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from server import websocket
from server.encoding import FORMATS, HEAD_BYTES
from streaming.errors import EngineFailed, SynthesisFailed
from tests.fakes import ToneScript
from tests.server.rooms import Room, eventually, in_process, make_room
from tests.server.sounds import decode
from tests.speakers.sounds import noise

SPEECH = "/v1/audio/speech"
TEXT = "Hello there, this is a test."
QUICK = ToneScript(characters_per_second=60.0)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return make_room(tmp_path, QUICK)


@pytest.fixture
async def client(room: Room) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(room) as client:
        yield client


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


async def test_pcm_is_24_khz_whatever_the_model_makes(client: httpx.AsyncClient) -> None:
    answer = await client.post(SPEECH, json={"input": TEXT, "response_format": "pcm"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "audio/pcm;rate=24000"
    assert answer.headers["x-sample-rate"] == "24000"
    assert len(answer.content) / 2 == pytest.approx(len(TEXT) / 60 * 24_000, rel=0.35)


async def test_another_rate_is_said(client: httpx.AsyncClient) -> None:
    body = {"input": TEXT, "response_format": "pcm", "sample_rate": 8_000}
    answer = await client.post(SPEECH, json=body)
    assert answer.headers["content-type"] == "audio/pcm;rate=8000"
    assert answer.headers["x-sample-rate"] == "8000"


async def test_mp3_is_the_default_and_plays(client: httpx.AsyncClient) -> None:
    answer = await client.post(SPEECH, json={"input": TEXT, "model": "tts-1", "voice": "alloy"})
    assert answer.headers["content-type"] == "audio/mpeg"
    samples, rate_hz = soundfile.read(io.BytesIO(answer.content))
    assert rate_hz == 22_050
    assert np.abs(samples).max() > 0.3


@pytest.mark.parametrize("audio_format", FORMATS)
async def test_whole_answers_say_their_length(client: httpx.AsyncClient, audio_format: str) -> None:
    body = {"input": TEXT, "response_format": audio_format, "stream": False, "seed": 7}
    whole = await client.post(SPEECH, json=body)
    streamed = await client.post(SPEECH, json={**body, "stream": None, "stream_format": "audio"})
    assert int(whole.headers["content-length"]) == len(whole.content)
    assert "content-length" not in streamed.headers
    if audio_format == "opus":  # an Ogg stream has a serial number, drawn at random
        sounds = [decode(answer.content, "opus", 0)[0] for answer in (whole, streamed)]
        assert np.array_equal(sounds[0], sounds[1])
    else:
        header = HEAD_BYTES if audio_format in ("wav", "flac") else 0
        assert whole.content[header:] == streamed.content[header:]


async def test_a_whole_flac_tells_its_length(client: httpx.AsyncClient) -> None:
    body = {"input": TEXT, "response_format": "flac", "stream": False}
    answer = await client.post(SPEECH, json=body)
    said = soundfile.info(io.BytesIO(answer.content))
    samples, _ = decode(answer.content, "flac", 0)
    assert said.frames == len(samples) > 0


async def test_wav_sizes(client: httpx.AsyncClient) -> None:
    whole = await client.post(SPEECH, json={"input": TEXT, "response_format": "wav"})
    with wave.open(io.BytesIO(whole.content)) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (22_050, 1, 2)
        assert sound.getnframes() * 2 + 44 == len(whole.content)
    body = {"input": TEXT, "response_format": "wav", "stream_format": "audio"}
    streamed = await client.post(SPEECH, json=body)
    assert streamed.content[4:8] == streamed.content[40:44] == b"\xff\xff\xff\xff"


async def test_events_carry_the_audio_and_the_usage(client: httpx.AsyncClient) -> None:
    body = {"input": TEXT, "response_format": "pcm", "seed": 1}
    plain = await client.post(SPEECH, json=body)
    answer = await client.post(SPEECH, json={**body, "stream": True})
    assert answer.headers["content-type"] == "text/event-stream"
    *deltas, done = events(answer.text)
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
    assert b"".join(base64.b64decode(delta["audio"]) for delta in deltas) == plain.content
    usage = done["usage"]
    assert done["type"] == "speech.audio.done"
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
    explicit = await client.post(SPEECH, json={**body, "stream_format": "sse"})
    assert explicit.text == answer.text


async def test_comments_keep_a_slow_stream_awake(tmp_path: Path) -> None:
    script = ToneScript(delay_s={"codes": 0.3})
    async with in_process(make_room(tmp_path, script, comment_every_s=0.05)) as client:
        answer = await client.post(SPEECH, json={"input": TEXT, "stream": True})
    assert answer.text.count(": still here\n\n") >= 3
    assert events(answer.text)[-1]["type"] == "speech.audio.done"


REFUSALS: list[tuple[dict[str, Any], int, str, str | None]] = [
    ({"input": ""}, 400, "empty_input", "input"),
    ({"input": " \n"}, 400, "empty_input", "input"),
    ({"input": "..."}, 400, "empty_input", "input"),
    ({}, 400, "bad_message", "input"),
    ({"input": 7}, 400, "bad_message", "input"),
    ({"input": "a\ud800b"}, 400, "invalid_text", "input"),
    ({"input": "a\ud800"}, 400, "invalid_text", "input"),
    ({"input": "a\u0000"}, 400, "invalid_text", "input"),
    ({"input": "x" * 1_000_000}, 413, "text_too_long", "input"),
    ({"input": "x", "voice": "nobody"}, 404, "unknown_voice", "voice"),
    ({"input": "x", "voice": "broken"}, 404, "unknown_voice", "voice"),
    ({"input": "x", "response_format": "wma"}, 400, "unsupported_format", "response_format"),
    ({"input": "x", "response_format": ["mp3"]}, 400, "unsupported_format", "response_format"),
    ({"input": "x", "sample_rate": 1}, 400, "unsupported_format", "sample_rate"),
    ({"input": "x", "speed": 4.1}, 422, "bad_config", "speed"),
    ({"input": "x", "seed": -1}, 422, "bad_config", "seed"),
    ({"input": "x", "language": "tlh"}, 422, "bad_config", "language"),
    ({"input": "x", "chunking": {"max_tokens": 97}}, 422, "bad_config", "chunking.max_tokens"),
    ({"input": "x", "stream": "yes"}, 422, "bad_config", "stream"),
    ({"input": "x", "stream_format": "wav"}, 422, "bad_config", "stream_format"),
    ({"input": "x", "framing": "tagged"}, 422, "bad_config", "framing"),
    ({"input": "x", "timestamps": True}, 422, "bad_config", "timestamps"),
    ({"input": "x", "instructions": 7}, 422, "bad_config", "instructions"),
    (
        {"input": "x", "emotion": {"reference": "https://x/a.wav"}},
        403,
        "reference_refused",
        "emotion.reference",
    ),
    (
        {"input": "x", "emotion": {"reference": base64.b64encode(b"text" * 99).decode()}},
        400,
        "bad_recording",
        "emotion.reference",
    ),
    ({"input": "x", "emotion": {"reference": "nobody"}}, 404, "unknown_voice", "emotion.reference"),
]


@pytest.mark.parametrize(
    ("body", "status", "code", "param"), REFUSALS, ids=[f"{r[2]}-{r[3]}" for r in REFUSALS]
)
async def test_refusals(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    answer = await client.post(SPEECH, content=json.dumps(body), headers={"x-request-id": "my-id"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
    assert error["request_id"] == answer.headers["x-request-id"] == "my-id"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 9999])
async def test_what_is_no_json(client: httpx.AsyncClient, content: bytes) -> None:
    answer = await client.post(SPEECH, content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_message")


async def test_a_body_over_the_bound_is_not_read(tmp_path: Path) -> None:
    async with in_process(make_room(tmp_path, QUICK, frame_bytes=1000)) as client:
        answer = await client.post(SPEECH, content=b" " * 1001)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "text_too_long")


async def test_a_body_that_never_comes(tmp_path: Path) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    async with in_process(make_room(tmp_path, QUICK, body_timeout_s=0.05)) as client:
        answer = await client.post(SPEECH, content=slow())
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_message")


async def test_a_model_of_one_language_reads_everything_in_it(
    room: Room, client: httpx.AsyncClient
) -> None:
    await client.post(SPEECH, json={"input": "42"})
    room.model._info = replace(room.model.info, languages=("en",))
    await client.post(SPEECH, json={"input": "42"})
    assert [take.request.language for take in room.model.takes] == [None, "en"]


async def test_emotions_reach_the_model(room: Room, client: httpx.AsyncClient) -> None:
    recording = base64.b64encode(noise(1.2, seed=9)).decode()
    for emotion in (
        {"vector": [0.5] + [0] * 7},
        {"text": "gloomy"},
        {"reference": "bertie", "weight": 0.5},
        {"reference": recording},
    ):
        answer = await client.post(SPEECH, json={"input": "Hi.", "emotion": emotion})
        assert answer.status_code == 200, answer.text
    await client.post(SPEECH, json={"input": "Hi.", "instructions": "sing"})
    takes = room.model.takes
    assert [take.request.emotion.text for take in takes] == [None, "gloomy", None, None, "sing"]
    assert takes[0].request.emotion.vector == (0.5,) + (0.0,) * 7
    voices = [take.emotion_voice for take in takes]
    assert [voice is None for voice in voices] == [True, True, False, False, True]
    assert takes[2].request.emotion.weight == 0.5
    assert takes[2].request.emotion.reference != takes[3].request.emotion.reference is not None
    assert takes[0].voice != voices[2] != voices[3]


async def test_failures_before_the_first_byte_have_a_status(tmp_path: Path) -> None:
    failures = {0: SynthesisFailed("it ran away")}
    async with in_process(make_room(tmp_path, ToneScript(failures=failures))) as client:
        answer = await client.post(SPEECH, json={"input": TEXT})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "synthesis_failed")


async def test_the_unexpected_is_internal_and_says_nothing_else(tmp_path: Path) -> None:
    failures = {0: RuntimeError("secret detail")}
    async with in_process(make_room(tmp_path, ToneScript(failures=failures))) as client:
        answer = await client.post(SPEECH, json={"input": TEXT})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert error["request_id"] == answer.headers["x-request-id"]


async def test_failures_after_the_first_byte_are_events(tmp_path: Path) -> None:
    script = ToneScript(late_failures={1: SynthesisFailed("it broke")})
    async with in_process(make_room(tmp_path, script)) as client:
        body = {"input": f"{TEXT} " * 6, "stream": True, "response_format": "pcm"}
        answer = await client.post(SPEECH, json=body)
    first, *_, last = events(answer.text)
    assert answer.status_code == 200
    assert first["type"] == "speech.audio.delta"
    assert last["type"] == "speech.audio.error"
    assert last["error"]["code"] == "synthesis_failed"


async def test_a_dead_engine_is_not_ready_until_it_speaks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.health._PAUSES_S", (0.01, 0.01))
    failures: dict[int, Exception] = {}
    room = make_room(tmp_path, ToneScript(failures=failures), warm_text="Ready.")
    async with in_process(room) as client:
        assert (await client.get("/readyz")).status_code == 200
        failures[0] = EngineFailed("the engine died")
        answer = await client.post(SPEECH, json={"input": TEXT})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_failed")
        assert answer.headers["retry-after"]
        await asyncio.sleep(0.1)
        gone = await client.get("/readyz")
        assert (gone.status_code, gone.json()["status"]) == (503, "engine_failed")
        failures.clear()

        async def ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        await eventually(ready)


async def test_a_failed_warm_up_is_not_ready_until_the_model_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.health._PAUSES_S", (0.01, 0.01))
    failures: dict[int, Exception] = {0: RuntimeError("no such kernel")}
    room = make_room(tmp_path, ToneScript(failures=failures), warm_text="Ready.")
    async with in_process(room) as client:
        assert (await client.get("/readyz")).json()["status"] == "failed"
        failures.clear()

        async def ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        await eventually(ready)


async def test_overload_and_draining_say_when_to_come_back(tmp_path: Path) -> None:
    script = ToneScript(delay_s={"codes": 0.3})
    room = make_room(tmp_path, script, active_requests=1, queued_requests=1)
    async with in_process(room) as client:
        posts = [
            asyncio.create_task(client.post(SPEECH, json={"input": "Hello."})) for _ in range(4)
        ]
        answers = await asyncio.gather(*posts)
        assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429]
        busy = asyncio.create_task(client.post(SPEECH, json={"input": "Hello."}))
        refused = await client.post(SPEECH, json={"input": "Hello.", "voice": "nobody"})
        assert (refused.status_code, busy.done()) == (404, False)
        await busy
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.json()["error"]["code"] == "overloaded"
        assert refused.headers["retry-after"] == "2"
        await room.service.drain(1.0)
        refused = await client.post(SPEECH, json={"input": TEXT})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert refused.headers["retry-after"] == "2"
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
        assert (await client.get("/healthz")).status_code == 200


async def test_lists(client: httpx.AsyncClient) -> None:
    voices = await client.get("/v1/audio/voices")
    listed = {voice["id"]: voice for voice in voices.json()["voices"]}
    assert list(listed) == ["anna", "bert", "broken"]
    assert listed["anna"]["default"]
    assert "not wav" in listed["broken"]["unavailable"]
    assert listed["bert"]["aliases"] == ["bertie"]
    assert voices.headers["etag"]
    for path in ("/v1/models", "/v1/audio/models"):
        assert (await client.get(path)).json()["data"][0]["id"] == "tone"
    said = (await client.get("/v1/capabilities")).json()
    assert said["formats"] == {"http": list(FORMATS), "websocket": list(websocket.FORMATS)}
    assert said["limits"]["context_characters"] == 5_000
    assert said["sample_rate"] == 22_050
    assert (await client.get("/v1/")).status_code == 200


async def test_wrong_routes_answer_in_the_same_form(client: httpx.AsyncClient) -> None:
    missing = await client.get("/v1/nothing")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    wrong = await client.get(SPEECH)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    made_up = await client.get("/v1/", headers={"x-request-id": "no spaces please"})
    assert made_up.headers["x-request-id"] != "no spaces please"


async def test_a_bug_is_internal(room: Room, client: httpx.AsyncClient) -> None:
    room.service.casting.registry = None  # type: ignore[assignment]
    answer = await client.get("/v1/audio/voices")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "NoneType" not in answer.text


async def test_instructions_do_not_hinder_a_model_that_cannot_follow_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = make_room(tmp_path)
    plain = replace(room.model.info, emotion_from_text=False)
    monkeypatch.setattr(room.model, "_info", plain)
    async with in_process(room) as client:
        answer = await client.post(
            SPEECH, json={"input": "Hi.", "instructions": "sing", "response_format": "pcm"}
        )
    assert answer.status_code == 200 and answer.content
    assert room.model.takes[-1].request.emotion.text is None
