"""What the streaming fork's client does: read pieces and write them as PCM."""

from __future__ import annotations

import wave
from pathlib import Path

import httpx

from tests.live.peers import nothing_left
from tests.live.talks import TEXT
from tests.server.rooms import Room

PIECE_BYTES = 24_000


async def test_its_pieces_make_a_file_that_plays(slow_room: Room, tmp_path: Path) -> None:
    body = {"text": TEXT * 2, "reference_id": "anna", "streaming": True}
    path = tmp_path / "out.wav"
    async with (
        nothing_left(slow_room),
        httpx.AsyncClient(base_url=f"{slow_room.url}/index-tts/v1") as client,
        client.stream("POST", "/tts_stream", json=body) as answer,
    ):
        assert answer.status_code == 200
        pieces = answer.aiter_bytes(PIECE_BYTES)
        first = await anext(pieces)
        ended = [entry for entry in slow_room.model.log if entry[0] == "end"]
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(24_000)
            file.writeframes(first)
            async for piece in pieces:
                file.writeframes(piece)
    chunks = [entry for entry in slow_room.model.log if entry[0] == "end"]
    assert len(ended) < len(chunks), "it played before the last chunk was made"
    with wave.open(str(path)) as file:
        assert file.getnframes() / 24_000 > len(TEXT * 2) / 30


async def test_a_client_that_leaves_stops_the_work(slow_room: Room) -> None:
    body = {"text": TEXT * 20, "character": "anna", "response_format": "pcm", "stream": True}
    async with (
        nothing_left(slow_room),
        httpx.AsyncClient(base_url=slow_room.url) as client,
        client.stream("POST", "/tts", json=body) as answer,
    ):
        await anext(answer.aiter_bytes())
    begun = [entry for entry in slow_room.model.log if entry[0] == "begin"]
    assert len(begun) < 6
