"""The routes of index-tts-vllm and its streaming fork, with the bodies that their clients send."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes import ToneScript
from tests.server.rooms import Room, in_process, make_room
from tests.speakers.sounds import noise

QUICK = ToneScript(characters_per_second=60.0)
TEXT = "Hello there, this is a test."
FORK = "/index-tts/v1"
V2: dict[str, Any] = {"text": TEXT, "spk_audio_path": "assets/jay.wav"}


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    folder = tmp_path / "server"
    (folder / "assets").mkdir(parents=True)
    for seed, name in enumerate(("jay.wav", "klee.wav", "sad.wav")):
        (folder / "assets" / name).write_bytes(noise(1.5, seed=20 + seed))
    (folder / "bare.wav").write_bytes(noise(1.5, seed=30))
    return folder


@pytest.fixture
def room(tmp_path: Path, assets: Path) -> Room:
    return make_room(tmp_path, QUICK, reference_dirs=(assets,))


@pytest.fixture
async def client(room: Room) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(room) as client:
        yield client


def frames(answer: httpx.Response, rate_hz: int = 24_000) -> int:
    """Frames of a WAV that a player takes; what is not one fails."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "audio/wav"
    assert int(answer.headers["content-length"]) == len(answer.content)
    with wave.open(io.BytesIO(answer.content)) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (rate_hz, 1, 2)
        assert sound.getnframes() * 2 + 44 == len(answer.content)
        return int(sound.getnframes())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{FORK}/tts", {"text": TEXT, "reference_id": "bert"}),
        (f"{FORK}/tts", {"text": TEXT, "reference_id": "bert", "streaming": True}),
        ("/tts", {"text": TEXT, "character": "bert"}),
        (f"{FORK}/audio/speech", {"input": TEXT, "voice": "bert", "model": "index-tts"}),
        ("/audio/speech", {"input": TEXT, "voice": "bert", "model": "index-tts"}),
    ],
)
async def test_speech_by_name(
    room: Room, client: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    assert frames(await client.post(path, json=body)) > 5_000
    assert room.model.takes[-1].request.voice == "bert"


async def test_the_stream_is_raw_and_says_so(client: httpx.AsyncClient) -> None:
    body = {"text": TEXT, "reference_id": "bert", "streaming": True}
    streamed = await client.post(f"{FORK}/tts_stream", json=body)
    assert streamed.headers["content-type"] == "audio/pcm;rate=24000"
    assert "content-length" not in streamed.headers
    assert not streamed.content.startswith(b"RIFF")
    assert len(streamed.content) == 2 * frames(await client.post(f"{FORK}/tts", json=body))


@pytest.mark.parametrize("path", ["/tts_url", f"{FORK}/tts_url"])
async def test_several_recordings_are_one_voice(
    room: Room, client: httpx.AsyncClient, assets: Path, path: str
) -> None:
    paths = ["assets/jay.wav", str(assets / "assets/klee.wav")]
    first = await client.post(path, json={"text": TEXT, "audio_paths": paths, "seed": 8})
    again = await client.post(path, json={"text": TEXT, "audio_paths": paths})
    other = await client.post(path, json={"text": TEXT, "audio_paths": paths[:1], "seed": 9})
    assert frames(first) > 5_000
    assert again.content == first.content, "8 is the seed that the original has"
    takes = room.model.takes
    assert [take.request.seed for take in takes] == [8, 8, 9]
    assert takes[0].voice == takes[1].voice != takes[2].voice
    assert frames(other) > 5_000


async def test_a_bare_file_name_is_no_voice(room: Room, client: httpx.AsyncClient) -> None:
    body = {**V2, "spk_audio_path": "bare.wav", "emo_control_method": 1, "emo_ref_path": "bare.wav"}
    frames(await client.post("/tts_url", json=body), 22_050)
    (take,) = room.model.takes
    assert take.emotion_voice == take.voice


EMOTIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"emo_control_method": 0, "emo_ref_path": "assets/sad.wav", "emo_weight": 0.5}, {}),
    ({"emo_control_method": 1, "emo_ref_path": None}, {}),
    (
        {"emo_control_method": 1, "emo_ref_path": "assets/sad.wav", "emo_weight": 1.2},
        {"weight": 1.2},
    ),
    (
        {"emo_control_method": 2, "emo_vec": [0, 0, 1.3, 0, 0, 0.1, 0, 0], "emo_random": True},
        {"vector": (0, 0, 1.3, 0, 0, 0.1, 0, 0), "random": True},
    ),
    ({"emo_control_method": 2}, {"vector": (0.0,) * 8}),
    ({"emo_control_method": 3, "emo_text": "gloomy", "emo_weight": 0.6}, {"text": "gloomy"}),
    ({"emo_control_method": 3, "emo_text": None}, {"text": TEXT}),
]


@pytest.mark.parametrize(("fields", "emotion"), EMOTIONS)
async def test_every_way_of_emotion(
    room: Room, client: httpx.AsyncClient, fields: dict[str, Any], emotion: dict[str, Any]
) -> None:
    assert frames(await client.post("/tts_url", json={**V2, **fields}), 22_050) > 5_000
    (take,) = room.model.takes
    asked = take.request.emotion
    got = {
        "vector": asked.vector,
        "text": asked.text,
        "weight": asked.weight,
        "random": asked.random,
    }
    assert got == {"vector": None, "text": None, "weight": 1.0, "random": False} | emotion
    assert (take.emotion_voice is not None) == ("weight" in emotion)


@pytest.mark.parametrize(("tokens", "caps"), [(20, 20), (120, 96), (600, 96)])
async def test_a_sentence_has_so_many_tokens(
    room: Room, client: httpx.AsyncClient, tokens: int, caps: int
) -> None:
    body = {**V2, "max_text_tokens_per_sentence": tokens}
    frames(await client.post("/tts_url", json=body), 22_050)
    assert room.model.takes[0].request.chunking.max_tokens == caps
    assert room.model.takes[0].request.chunking.gap_ms == 200


async def test_our_own_fields_count_on_these_routes(room: Room, client: httpx.AsyncClient) -> None:
    own = {"response_format": "pcm", "sample_rate": 8_000, "speed": 2, "emotion": {"text": "glad"}}
    answer = await client.post("/tts", json={"text": TEXT, "character": "anna", **own})
    assert answer.headers["content-type"] == "audio/pcm;rate=8000"
    await client.post("/tts_url", json={**V2, "emo_control_method": 2, **own})
    assert {take.request.emotion.text for take in room.model.takes} == {"glad"}
    assert {take.request.speed for take in room.model.takes} == {2.0}


REFUSALS: list[tuple[str, dict[str, Any], int, str, str | None]] = [
    ("/tts", {"text": TEXT}, 400, "bad_message", "character"),
    ("/tts", {"text": TEXT, "character": "nobody"}, 404, "unknown_voice", "character"),
    ("/tts", {"text": " ", "character": "anna"}, 400, "empty_input", "text"),
    ("/tts", {"text": "...", "character": "anna"}, 400, "empty_input", "text"),
    ("/tts", {"character": "anna"}, 400, "bad_message", "text"),
    (f"{FORK}/tts", {"text": TEXT, "reference_id": 7}, 400, "bad_message", "reference_id"),
    (
        f"{FORK}/tts_stream",
        {"text": TEXT, "reference_id": "nobody"},
        404,
        "unknown_voice",
        "reference_id",
    ),
    (f"{FORK}/tts_stream", {"text": "", "reference_id": "anna"}, 400, "empty_input", "text"),
    ("/tts_url", {"text": TEXT}, 400, "bad_message", "audio_paths"),
    ("/tts_url", {"text": TEXT, "audio_paths": []}, 400, "bad_message", "audio_paths"),
    ("/tts_url", {"text": TEXT, "audio_paths": ["a/x.wav"] * 9}, 400, "bad_message", "audio_paths"),
    ("/tts_url", {"text": TEXT, "audio_paths": [1]}, 400, "bad_message", "audio_paths"),
    ("/tts_url", {"text": TEXT, "audio_paths": ["a/x.wav"]}, 400, "bad_recording", "audio_paths"),
    (
        "/tts_url",
        {"text": TEXT, "audio_paths": ["../x.wav"]},
        403,
        "reference_refused",
        "audio_paths",
    ),
    (
        "/tts_url",
        {"text": TEXT, "audio_paths": ["/etc/passwd"]},
        403,
        "reference_refused",
        "audio_paths",
    ),
    (
        "/tts_url",
        {"text": TEXT, "audio_paths": ["bare.wav"], "seed": "x"},
        422,
        "bad_config",
        "seed",
    ),
    (
        "/tts_url",
        {**V2, "spk_audio_path": "/etc/passwd"},
        403,
        "reference_refused",
        "spk_audio_path",
    ),
    ("/tts_url", {**V2, "emo_control_method": 4}, 422, "bad_config", "emo_control_method"),
    ("/tts_url", {**V2, "emo_control_method": "1"}, 422, "bad_config", "emo_control_method"),
    (
        "/tts_url",
        {**V2, "emo_control_method": 1, "emo_ref_path": "/etc/x"},
        403,
        "reference_refused",
        "emo_ref_path",
    ),
    (
        "/tts_url",
        {**V2, "emo_control_method": 1, "emo_ref_path": "assets/none.wav"},
        400,
        "bad_recording",
        "emo_ref_path",
    ),
    (
        "/tts_url",
        {**V2, "emo_control_method": 2, "emo_vec": [1.0, 1.0, 0, 0, 0, 0, 0, 0]},
        422,
        "bad_config",
        "emo_vec",
    ),
    ("/tts_url", {**V2, "emo_control_method": 2, "emo_vec": [1]}, 422, "bad_config", "emo_vec"),
    (
        "/tts_url",
        {**V2, "emo_control_method": 3, "emo_text": "a\u0000"},
        422,
        "bad_config",
        "emo_text",
    ),
    ("/tts_url", {**V2, "emo_random": 1}, 422, "bad_config", "emo_random"),
    (
        "/tts_url",
        {**V2, "max_text_tokens_per_sentence": 1.5},
        422,
        "bad_config",
        "max_text_tokens_per_sentence",
    ),
]


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "param"),
    REFUSALS,
    ids=[f"{path}-{code}-{param}" for path, _, _, code, param in REFUSALS],
)
async def test_refusals(
    client: httpx.AsyncClient,
    path: str,
    body: dict[str, Any],
    status: int,
    code: str,
    param: str | None,
) -> None:
    answer = await client.post(path, content=json.dumps(body))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
    assert "Traceback" not in answer.text and "/" not in error["message"]


@pytest.mark.parametrize(
    "body", [{"text": TEXT, "audio_paths": ["assets/jay.wav"]}, V2, {**V2, "emo_control_method": 3}]
)
async def test_without_folders_every_path_is_refused(tmp_path: Path, body: dict[str, Any]) -> None:
    async with in_process(make_room(tmp_path, QUICK)) as client:
        for path in ("/tts_url", f"{FORK}/tts_url"):
            answer = await client.post(path, json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (
                403,
                "reference_refused",
            )


async def test_old_clients_may_get_raw_pcm(tmp_path: Path) -> None:
    room = make_room(tmp_path, QUICK, legacy_tts_body="pcm")
    async with in_process(room) as client:
        body = {"text": TEXT, "character": "anna", "reference_id": "anna"}
        raw = await client.post("/tts", json=body)
        assert raw.headers["content-type"] == "audio/pcm;rate=24000"
        assert len(raw.content) == 2 * frames(await client.post(f"{FORK}/tts", json=body))


@pytest.mark.parametrize("prefix", ["", FORK])
async def test_health_and_voices(room: Room, client: httpx.AsyncClient, prefix: str) -> None:
    well = await client.get(f"{prefix}/health")
    assert well.status_code == 200
    assert well.json().keys() == {"status", "message", "timestamp"}
    assert well.json()["status"] == "healthy"
    voices = await client.get(f"{prefix}/audio/voices")
    assert voices.json() == {"anna": ["anna.wav"], "bert": ["bert.wav"]}
    await room.service.drain(1.0)
    gone = await client.get(f"{prefix}/health")
    assert (gone.status_code, gone.json()["status"]) == (503, "unhealthy")
