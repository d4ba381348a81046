"""Voices that are added to a real server: heard on every door, at once and after a restart."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx

from streaming import wire
from tests.fakes import Tone, ToneScript
from tests.live.peers import nothing_left, talk
from tests.server.rooms import Room, make_room, serving
from tests.speakers.sounds import noise

SCRIPT = ToneScript(delay_s={"encode": 0.2}, characters_per_second=60.0)
FIELDS = {"name": "dora", "consent": "I agree."}
FILES = [("recordings", (f"{n}.wav", noise(1.5, seed=20 + n), "audio/wav")) for n in range(2)]


def room_with_uploads(folder: Path) -> Room:
    return make_room(folder, SCRIPT, voices_dir=folder / "uploads")


async def voice_of(room: Room) -> Tone:
    return await room.model.encode(room.service.catalog.resolve("dora").load())


async def test_a_voice_speaks_within_a_second_of_its_upload(tmp_path: Path) -> None:
    """Encoding is over when the upload is answered; nothing of it is left to the first use."""
    room = room_with_uploads(tmp_path)
    async with serving(room), httpx.AsyncClient(base_url=room.url) as client:
        began_s = time.monotonic()
        added = await client.post("/v1/voices", data=FIELDS, files=FILES)
        assert added.status_code == 201 and time.monotonic() - began_s >= 0.2
        encoded = room.model.encoded
        began_s = time.monotonic()
        body = {"input": "Hello there.", "voice": "dora", "response_format": "pcm"}
        async with client.stream("POST", "/v1/audio/speech", json=body) as answer:
            assert await anext(answer.aiter_bytes())
        assert time.monotonic() - began_s < 1.0
        assert room.model.encoded == encoded


DOORS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/audio/speech", {"input": "Hello.", "voice": "dora"}),
    ("/tts", {"text": "Hello.", "character": "dora"}),
    ("/index-tts/v1/tts_stream", {"text": "Hello.", "reference_id": "dora"}),
    ("/audio/speech", {"model": "", "input": "Hello.", "voice": "dora"}),
    ("/v1/text-to-speech/dora", {"text": "Hello."}),
]


async def test_it_is_heard_on_every_door_and_after_a_restart(tmp_path: Path) -> None:
    room = room_with_uploads(tmp_path)
    async with serving(room), httpx.AsyncClient(base_url=room.url) as client:
        await client.post("/v1/voices", data=FIELDS, files=FILES)
        voice = await voice_of(room)
        for path, body in DOORS:
            assert (await client.post(path, json=body)).status_code == 200, path
            assert room.model.takes[-1].voice == voice, path
    again = room_with_uploads(tmp_path)
    async with serving(again), talk(again, voice="dora") as client:
        await client.send("input.text", text="Hello.")
        await client.send("input.done")
        await client.until(wire.SessionDone)
        assert again.model.takes[-1].voice == voice


async def test_another_server_on_the_same_folder_has_it_soon(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    rooms = [
        make_room(tmp_path / name, SCRIPT, voices_dir=tmp_path / "uploads", voices_refresh_s=0.05)
        for name in ("one", "two")
    ]
    async with serving(rooms[0]) as one, serving(rooms[1]) as two, httpx.AsyncClient() as client:
        await client.post(f"{one.url}/v1/voices", data=FIELDS, files=FILES)
        for wanted in (200, 404):
            for _ in range(100):
                if (await client.get(f"{two.url}/v1/voices/dora")).status_code == wanted:
                    break
                await asyncio.sleep(0.05)
            assert (await client.get(f"{two.url}/v1/voices/dora")).status_code == wanted
            if wanted == 200:
                assert (await client.delete(f"{two.url}/v1/voices/dora")).status_code == 204
        assert rooms[0].service.catalog.default.name == "anna"


async def test_uploads_that_are_broken_off_leave_nothing(tmp_path: Path) -> None:
    room = room_with_uploads(tmp_path)
    head = (
        b"POST /v1/voices HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        b'--x\r\nContent-Disposition: form-data; name="recordings"; filename="a"\r\n\r\n'
    )
    room.service.casting.sandbox.start()
    async with serving(room), nothing_left(room):
        for _ in range(20):
            port = int(room.url.rpartition(":")[2])
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head + b"x" * 5_000)
            await writer.drain()
            writer.transport.abort()
        async with httpx.AsyncClient(base_url=room.url) as client:
            for _ in range(100):
                answer = await client.post("/v1/voices", data=FIELDS, files=FILES)
                if answer.status_code != 429:
                    break
                await asyncio.sleep(0.05)
            assert answer.status_code == 201
            assert (await client.delete("/v1/voices/dora")).status_code == 204
        assert list((tmp_path / "uploads").iterdir()) == []


async def test_a_body_that_does_not_come_is_given_up(tmp_path: Path) -> None:
    room = make_room(tmp_path, SCRIPT, voices_dir=tmp_path / "uploads", body_timeout_s=0.2)
    async with serving(room):
        port = int(room.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /v1/voices HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        )
        async with asyncio.timeout(5):
            assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        writer.close()
