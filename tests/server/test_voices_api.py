"""Voices over HTTP: list, hear, add, delete; what is refused leaves nothing behind."""

from __future__ import annotations

import asyncio
import io
import json
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from server import forms
from server.keys import make_key, write_keys
from speakers.recording import load_recording
from streaming.errors import SynthesisFailed
from tests.fakes import ToneScript
from tests.server.rooms import Room, eventually, in_process, make_room
from tests.speakers.sounds import noise

VOICES = "/v1/voices"
SPEECH = "/v1/audio/speech"
FIELDS = {"name": "dora", "consent": "I, Dora, agree."}
FILE = ("recordings", ("dora.wav", noise(2.0, seed=7), "audio/wav"))


@pytest.fixture
def room(tmp_path: Path) -> Room:
    script = ToneScript(characters_per_second=60.0)
    return make_room(tmp_path, script, voices_dir=tmp_path / "uploads")


@pytest.fixture
async def client(room: Room) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(room) as client:
        yield client


async def add(client: httpx.AsyncClient, *files: Any, **fields: str) -> httpx.Response:
    return await client.post(VOICES, data={**FIELDS, **fields}, files=list(files or [FILE]))


def frequency_hz(wav: bytes) -> float:
    """The loudest frequency of a WAV."""
    with wave.open(io.BytesIO(wav)) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)
        rate_hz = sound.getframerate()
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 18))
    return float(np.argmax(spectrum) * rate_hz / (1 << 18))


async def test_the_list_has_a_mark_and_is_sent_once(client: httpx.AsyncClient) -> None:
    first, other = await client.get(VOICES), await client.get("/v1/audio/voices")
    assert first.json() == other.json()
    assert [voice["id"] for voice in first.json()["voices"]] == ["anna", "bert", "broken"]
    etag = first.headers["ETag"]
    for known in (etag, f'"x", W/{etag}'):
        again = await client.get(VOICES, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
    assert (await client.get(VOICES, headers={"If-None-Match": '"x"'})).status_code == 200
    await add(client)
    fresh = await client.get(VOICES, headers={"If-None-Match": etag})
    assert fresh.status_code == 200 and fresh.headers["ETag"] != etag


async def test_a_voice_is_told_by_name_or_alias(client: httpx.AsyncClient) -> None:
    bert = (await client.get(f"{VOICES}/bertie")).json()
    assert bert == {
        "id": "bert",
        "voice_id": "bert",
        "name": "bert",
        "category": "premade",
        "description": "",
        "language": "en",
        "aliases": ["bertie"],
        "default": False,
        "uploaded": False,
        "recordings": 1,
    }
    assert "unavailable" in (await client.get(f"{VOICES}/broken")).json()
    missing = await client.get(f"{VOICES}/nobody")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "unknown_voice")


async def test_an_added_voice_speaks_at_once_on_every_door(
    room: Room, client: httpx.AsyncClient
) -> None:
    answer = await add(client, description="Dora, 30", language="en")
    assert answer.status_code == 201 and answer.headers["Location"] == f"{VOICES}/dora"
    told = answer.json()
    assert told["uploaded"] and told["category"] == "cloned"
    assert (told["description"], told["language"]) == ("Dora, 30", "en")
    assert (await client.get(answer.headers["Location"])).json() == told
    spoken = await client.post(SPEECH, json={"input": "Hello there.", "voice": "dora"})
    assert spoken.status_code == 200
    speaker = room.service.catalog.resolve("dora")
    voice = await room.model.encode(speaker.load())
    assert room.model.takes[-1].voice == voice
    heard = await client.get(f"{VOICES}/dora/preview")
    assert heard.headers["content-type"] == "audio/wav"
    assert int(heard.headers["content-length"]) == len(heard.content)
    takes = len(room.model.takes)
    head = await client.head(f"{VOICES}/dora/preview")
    assert (head.status_code, head.headers["content-type"]) == (200, "audio/wav")
    assert "content-length" not in head.headers
    assert (await client.head(f"{VOICES}/nobody/preview")).status_code == 404
    assert len(room.model.takes) == takes, "a head is made without its body"
    assert frequency_hz(heard.content) == pytest.approx(voice.frequency_hz, rel=0.01)
    emotion = {"input": "Hello.", "emotion": {"reference": "dora"}}
    assert (await client.post(SPEECH, json=emotion)).status_code == 200
    assert room.model.takes[-1].emotion_voice == voice


async def test_several_recordings_are_one_voice(room: Room, client: httpx.AsyncClient) -> None:
    files = [("recordings", (f"{n}.wav", noise(1.5, seed=n), "audio/wav")) for n in range(3)]
    assert (await add(client, *files)).json()["recordings"] == 3
    speaker = room.service.catalog.resolve("dora")
    for nth, recording in enumerate(speaker.load()):
        wanted = load_recording(noise(1.5, seed=nth)).recording.samples
        assert np.abs(recording.samples - wanted).max() < 2**-15


async def test_a_long_recording_is_cut_and_says_so(client: httpx.AsyncClient) -> None:
    answer = await add(client, ("recordings", ("long.wav", noise(20.0), "audio/wav")))
    assert answer.status_code == 201 and "20.0 s long" in answer.json()["warnings"][0]


async def test_a_deleted_voice_is_gone_and_so_is_what_was_made_of_it(
    room: Room, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await add(client)
    held = room.service.casting.voices.held_bytes
    answer = await client.delete(f"{VOICES}/dora")
    assert (answer.status_code, answer.content) == (204, b"")
    assert room.service.casting.voices.held_bytes < held
    assert list((tmp_path / "uploads").iterdir()) == []
    assert (await client.get(f"{VOICES}/dora")).status_code == 404
    spoken = await client.post(SPEECH, json={"input": "Hello.", "voice": "dora"})
    assert spoken.json()["error"]["code"] == "unknown_voice"
    assert (await client.delete(f"{VOICES}/dora")).status_code == 404
    shipped = await client.delete(f"{VOICES}/anna")
    assert (shipped.status_code, shipped.json()["error"]["code"]) == (422, "bad_config")


async def test_two_voices_of_one_sound_are_forgotten_together(
    room: Room, client: httpx.AsyncClient
) -> None:
    await add(client)
    await add(client, name="emil")
    held = room.service.casting.voices.held_bytes
    await client.delete(f"{VOICES}/dora")
    assert room.service.casting.voices.held_bytes == held
    await client.delete(f"{VOICES}/emil")
    assert room.service.casting.voices.held_bytes < held


async def test_a_voice_is_deleted_with_the_key_that_added_it(tmp_path: Path) -> None:
    made = [make_key(name) for name in ("dora", "emil")]
    write_keys(tmp_path / "keys.json", [key for key, _ in made])
    dora, emil = ({"X-API-Key": secret} for _, secret in made)
    room = make_room(tmp_path, voices_dir=tmp_path / "uploads", keys=tmp_path / "keys.json")
    async with in_process(room) as client:
        assert (await add(client)).status_code == 401
        answer = await client.post(VOICES, data=FIELDS, files=[FILE], headers=dora)
        assert answer.status_code == 201
        body = {"input": "Hello.", "voice": "dora"}
        assert (await client.post(SPEECH, json=body, headers=emil)).status_code == 200
        refused = await client.delete(f"{VOICES}/dora", headers=emil)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
        assert (await client.delete(f"{VOICES}/dora", headers=dora)).status_code == 204


@pytest.mark.parametrize(
    ("fields", "files", "status", "code", "param"),
    [
        ({"name": ""}, [FILE], 422, "bad_config", "name"),
        ({"name": "../x"}, [FILE], 422, "bad_config", "name"),
        ({"name": ".."}, [FILE], 422, "bad_config", "name"),
        ({"name": "a\0b"}, [FILE], 422, "bad_config", "name"),
        ({"name": "anna"}, [FILE], 422, "bad_config", "name"),
        ({"consent": " "}, [FILE], 422, "bad_config", "consent"),
        ({"consent": "x" * 2_001}, [FILE], 422, "bad_config", "consent"),
        ({"language": "???"}, [FILE], 422, "bad_config", "language"),
        ({"description": "x" * 501}, [FILE], 422, "bad_config", "description"),
        ({"description": "x" * 20_000}, [FILE], 400, "bad_message", None),
        ({}, [FILE] * 9, 400, "bad_message", None),
        ({}, [("recordings", (None, b"text"))], 400, "bad_recording", "recordings"),
        ({}, [("r", ("a", b""))], 400, "bad_recording", None),
        ({}, [("r", ("a", b"no audio"))], 400, "bad_recording", None),
        ({}, [("r", ("a", noise(0.5)))], 400, "bad_recording", None),
        ({}, [("r", ("a", noise(31.0)))], 400, "bad_recording", None),
        ({}, [("r", ("a", b"x" * 10_000_001))], 400, "bad_recording", None),
        ({}, [FILE, ("r", ("a", b"no audio"))], 400, "bad_recording", None),
        ({}, [("r", ("a", b"x" * 9_000_000))] * 3, 400, "bad_recording", None),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_what_is_refused_leaves_nothing(
    client: httpx.AsyncClient,
    tmp_path: Path,
    fields: dict[str, str],
    files: list[Any],
    status: int,
    code: str,
    param: str | None,
) -> None:
    before = (await client.get(VOICES)).json()
    answer = await add(client, *files, **fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
    assert (await client.get(VOICES)).json() == before
    assert not (tmp_path / "uploads").exists()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),
        ({"content-type": "application/json"}, b"{}"),
        ({"content-type": "multipart/form-data"}, b"x"),
        ({"content-type": "multipart/form-data; boundary=x"}, b"no boundary here"),
        ({"content-type": "multipart/form-data; boundary=x"}, b"--x\r\nContent-Disp"),
        ({"content-type": "multipart/form-data; boundary=x"}, b"--x\r\n\r\nx\r\n--x--\r\n"),
        ({"content-type": "multipart/form-data; boundary=x"}, b"--x\r\n" + b"A: b\r\n" * 99),
        ({"content-type": f"multipart/form-data; boundary={'x' * 999}"}, b"--x"),
        ({"content-type": "application/x-www-form-urlencoded"}, b"name=a"),
    ],
)
async def test_what_is_no_form_is_a_bad_message(
    client: httpx.AsyncClient, headers: dict[str, str], body: bytes
) -> None:
    answer = await client.post(VOICES, content=body, headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["code"] in ("bad_message", "bad_recording", "bad_config")


async def test_text_that_is_not_unicode_is_a_bad_message(client: httpx.AsyncClient) -> None:
    parts = ("name", "zed"), ("consent", "I agree \\ud800"), ("name", "\\udfff")
    for wrong in parts[1:]:
        said = dict(parts[:2], **dict([wrong]))
        body = b"".join(
            b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
            % (name.encode(), value.encode())
            for name, value in said.items()
        )
        answer = await client.post(
            VOICES,
            content=body + b"--x--\r\n",
            headers={"content-type": "multipart/form-data; boundary=x; charset=unicode_escape"},
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_message")


async def test_a_voice_that_cannot_be_encoded_is_not_kept(
    room: Room, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: Any) -> Any:
        raise SynthesisFailed("no voice in it")

    monkeypatch.setattr(room.model, "encode", fail)
    answer = await add(client)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "synthesis_failed")
    assert (await client.get(f"{VOICES}/dora")).status_code == 404


async def test_without_a_folder_voices_are_not_taken(tmp_path: Path) -> None:
    async with in_process(make_room(tmp_path)) as client:
        answer = await add(client)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_config")


async def test_few_hand_in_voices_at_once_and_nobody_while_draining(
    room: Room, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = asyncio.Event()
    encode = room.model.encode

    async def wait(recordings: Any) -> Any:
        await held.wait()
        return await encode(recordings)

    monkeypatch.setattr(room.model, "encode", wait)
    posts = [asyncio.create_task(add(client, name=f"n{nth}")) for nth in range(5)]
    done, _ = await asyncio.wait(posts, return_when=asyncio.FIRST_COMPLETED)
    [refused] = [post.result() for post in done]
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "overloaded")
    assert refused.headers["Retry-After"]
    held.set()
    assert sorted(post.status_code for post in await asyncio.gather(*posts)) == [201] * 4 + [429]
    room.service.admission.draining.set()
    late = await add(client)
    assert (late.status_code, late.json()["error"]["code"]) == (503, "draining")


async def test_one_name_at_once_is_given_to_one(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(add(client) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 422, 422, 422]
    names = [voice["id"] for voice in (await client.get(VOICES)).json()["voices"]]
    assert names.count("dora") == 1


async def test_a_room_that_is_full_takes_no_more(tmp_path: Path) -> None:
    room = make_room(tmp_path, voices_dir=tmp_path / "uploads", voices_max=1)
    async with in_process(room) as client:
        assert (await add(client)).status_code == 201
        full = await add(client, name="emil")
        assert (full.status_code, full.json()["error"]["code"]) == (429, "overloaded")


async def test_a_voice_deleted_while_it_speaks_speaks_to_its_end(tmp_path: Path) -> None:
    script = ToneScript(delay_s={"slice": 0.01}, characters_per_second=30.0)
    room = make_room(tmp_path, script, voices_dir=tmp_path / "uploads")
    body = {"input": "One sentence is this. " * 5, "voice": "dora", "response_format": "pcm"}
    async with in_process(room) as client:
        await add(client)
        whole = (await client.post(SPEECH, json=body)).content

        async def speaks() -> bool:
            return room.model.live > 0

        speaking = asyncio.create_task(client.post(SPEECH, json=body))
        await eventually(speaks)
        assert (await client.delete(f"{VOICES}/dora")).status_code == 204
        assert not speaking.done()
        answer = await speaking
        assert answer.status_code == 200 and answer.content == whole


async def test_a_reload_while_it_speaks_changes_later_requests_only(tmp_path: Path) -> None:
    script = ToneScript(delay_s={"slice": 0.01}, characters_per_second=30.0)
    room = make_room(tmp_path, script)
    body = {"input": "One sentence is this. " * 5, "voice": "anna", "response_format": "pcm"}
    async with in_process(room) as client:
        whole = (await client.post(SPEECH, json=body)).content

        async def speaks() -> bool:
            return room.model.live > 0

        speaking = asyncio.create_task(client.post(SPEECH, json=body))
        await eventually(speaks)
        (tmp_path / "speaker.json").write_text(json.dumps({"anna": ["bert.wav"]}))
        assert room.service.casting.registry.refresh() and not speaking.done()
        assert (await speaking).content == whole
        assert (await client.post(SPEECH, json=body)).content != whole


async def test_a_form_holds_the_loop_in_short_pieces(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body made to slow the parser down: boundaries that never quite are."""
    monkeypatch.setattr(forms, "MAX_BYTES", 3_000_000)
    trap = (
        b"--x\r\nContent-Disposition: form-data; name=r; filename=r\r\n\r\n" + b"\r\n--" * 700_000
    )

    async def body() -> AsyncIterator[bytes]:
        for start in range(0, len(trap), 65_536):
            yield trap[start : start + 65_536]

    stalls = []

    async def watch() -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.001)
            stalls.append(loop.time() - before)

    watching = asyncio.create_task(watch())
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = await client.post(VOICES, content=body(), headers=headers)
    watching.cancel()
    assert "cut off" in answer.json()["error"]["message"]
    assert max(stalls) < 0.5
