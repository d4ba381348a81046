"""Who is refused is refused before anything is read or fetched for him."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.admission import ANONYMOUS
from server.keys import make_key, write_keys
from server.references import References
from streaming.errors import Overloaded, ReferenceRefused
from tests.server.rooms import Room, in_process, make_room
from tests.speakers.sounds import noise

TEXT = "Hello there."
PATHS = [f"{nth}.wav" for nth in range(8)]
FORM = {"name": "dora", "consent": "I, Dora, agree."}
VOICES = "/v1/voices"


@pytest.fixture
def room(tmp_path: Path) -> Room:
    for path in PATHS:
        (tmp_path / path).write_bytes(noise(1.2, seed=3))
    return make_room(
        tmp_path,
        active_requests=1,
        queued_requests=0,
        reference_dirs=(tmp_path,),
        reference_hosts=("good.example",),
    )


@pytest.fixture
async def client(room: Room) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(room) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tts_url", {"text": TEXT, "audio_paths": PATHS}),
        ("/tts_url", {"text": TEXT, "spk_audio_path": PATHS[0]}),
        ("/v1/speak", {"url": "http://good.example/text"}),
    ],
)
async def test_nothing_is_fetched_for_who_is_refused(
    room: Room,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: dict[str, Any],
) -> None:
    asked: list[str] = []

    async def ask(_: References, text: str, *, param: str) -> None:
        asked.append(text)
        raise ReferenceRefused("it was asked for", param=param)

    monkeypatch.setattr(References, "load", ask)
    monkeypatch.setattr(References, "text", ask)
    with room.service.admission.place():
        assert (await client.post(path, json=body)).status_code == 429
    assert asked == []
    assert (await client.post(path, json=body)).status_code == 403
    assert asked, "there was a place"
    asked.clear()
    room.service.admission.draining.set()
    assert (await client.post(path, json=body)).status_code == 503
    assert asked == []


async def test_recordings_are_fetched_at_once(
    room: Room, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = asyncio.Barrier(len(PATHS))
    load = References.load

    async def meet(references: References, text: str, *, param: str) -> Any:
        await asyncio.wait_for(together.wait(), 5.0)
        return await load(references, text, param=param)

    monkeypatch.setattr(References, "load", meet)
    answer = await client.post("/tts_url", json={"text": TEXT, "audio_paths": PATHS})
    assert answer.status_code == 200, answer.text
    refused = await client.post(
        "/tts_url", json={"text": TEXT, "audio_paths": [*PATHS[1:], "http://bad.example/x"]}
    )
    assert (refused.status_code, refused.json()["error"]["param"]) == (403, "audio_paths")


async def test_a_voice_that_is_handed_in_is_a_request(tmp_path: Path) -> None:
    key, secret = make_key("k")
    write_keys(tmp_path / "keys.json", [key])
    room = make_room(
        tmp_path,
        voices_dir=tmp_path / "uploads",
        keys=tmp_path / "keys.json",
        key_requests_per_minute=2,
    )
    headers = {"X-API-Key": secret}
    async with in_process(room) as client:
        for status in (400, 400, 429):
            answer = await client.post(VOICES, data=FORM, files=[("x", b"")], headers=headers)
            assert answer.status_code == status, answer.text
        assert answer.json()["error"]["code"] == "rate_limited"
        body = {"input": TEXT}
        assert (
            await client.post("/v1/audio/speech", json=body, headers=headers)
        ).status_code == 429


async def test_no_voice_is_read_for_who_would_find_no_place(
    room: Room, client: httpx.AsyncClient
) -> None:
    read: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        for piece in (b"--x\r\n", b"--x--\r\n"):
            read.append(piece)
            yield piece

    with room.service.admission.place(ANONYMOUS):
        kind = {"content-type": "multipart/form-data; boundary=x"}
        answer = await client.post(VOICES, content=body(), headers=kind)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "overloaded")
    assert read == []


async def test_one_key_does_not_hold_all_desks(room: Room) -> None:
    casting = room.service.casting
    with ExitStack() as held:
        for count, key_id in ((4, "anna"), (2, "bert"), (1, "carl")):
            for _ in range(count):
                held.enter_context(casting.desk(key_id))
            with pytest.raises(Overloaded):
                held.enter_context(casting.desk(key_id))
    with ExitStack() as held:
        for _ in range(4):
            held.enter_context(casting.desk("anna"))
