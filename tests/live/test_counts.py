"""Every refusal is counted once, whichever door tells of it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from streaming import wire
from tests.live.peers import talk
from tests.server.rooms import Room

NOBODY = "unknown_voice"


def counts(room: Room) -> dict[str, float]:
    """Refusals so far, by code."""
    (family,) = (m for m in room.service.metrics.errors.collect())
    return {
        sample.labels["code"]: sample.value
        for sample in family.samples
        if sample.name.endswith("_total")
    }


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/audio/speech", {"input": "Hello.", "voice": "nobody"}, NOBODY),
        ("/v1/audio/speech", {"input": "..."}, "empty_input"),
        ("/v1/text-to-speech/nobody", {"text": "Hello."}, NOBODY),
        ("/v1/text-to-speech/anna", {"text": 7}, "bad_message"),
        ("/v1/text-to-speech/anna/stream", {"text": "..."}, "empty_input"),
        ("/v1/speak?model=nobody", {"text": "Hello."}, NOBODY),
        ("/v1/speak?encoding=mp7", {"text": "Hello."}, "unsupported_format"),
        ("/tts", {"text": "Hello.", "character": "nobody"}, NOBODY),
    ],
)
async def test_http(room: Room, path: str, body: dict[str, Any], code: str) -> None:
    async with httpx.AsyncClient(base_url=room.url) as client:
        answer = await client.post(path, json=body)
        assert answer.status_code >= 400
    assert counts(room) == {code: 1.0}


async def test_the_native_socket(room: Room) -> None:
    async with talk(room) as client:
        await client.send("session.config", resume_token="x")
        await client.error("resume_expired")
        await client.send("input.text", text="Hello.", voice="nobody")
        await client.error(NOBODY)
        await client.send("input.text", text="...")
        await client.send("input.done")
        await client.until(wire.SessionDone, wire.Failure)
        before = counts(room)
        for _ in range(3):
            await client.socket.send("nonsense")
        assert await client.close_code() == 1008
    assert before["resume_expired"] == before[NOBODY] == 1.0
    assert counts(room)["bad_message"] == 3.0


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/v1/speak?model=nobody", NOBODY),
        ("/v1/text-to-speech/nobody/stream-input", NOBODY),
    ],
)
async def test_a_refused_handshake(room: Room, target: str, code: str) -> None:
    with pytest.raises(InvalidStatus):
        async with connect(room.url.replace("http", "ws", 1) + target):
            pass
    assert counts(room) == {code: 1.0}


async def test_the_sockets_of_others(room: Room) -> None:
    url = room.url.replace("http", "ws", 1)
    async with connect(f"{url}/v1/speak?encoding=linear16") as socket:
        await socket.recv()
        await socket.send(json.dumps({"type": "Speak", "text": "Hello.", "speed": 99}))
        assert json.loads(await socket.recv())["type"] == "Warning"
    assert counts(room) == {"bad_config": 1.0}
    async with connect(f"{url}/v1/text-to-speech/anna/stream-input") as socket:
        await socket.send(json.dumps({"text": "Hello. ", "voice_settings": {"speed": 99}}))
        assert "error" in json.loads(await socket.recv())
    assert counts(room) == {"bad_config": 2.0}
