"""Generated frames at the doors for other clients: no 1011, no hung socket, nothing left behind."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.fakes import ToneScript
from tests.live.peers import nothing_left
from tests.server.rooms import Room, make_room, serving

DOORS = (
    "/v1/text-to-speech/anna/multi-stream-input?output_format=pcm_8000",
    "/v1/text-to-speech/anna/multi-stream-input?output_format=mp3_22050_32&auto_mode=true",
    "/v1/text-to-speech/anna/stream-input?output_format=ulaw_8000",
    "/v1/speak?encoding=mulaw",
    "/v1/speak?encoding=linear16",
)
FRAMES, SOCKETS = 60, 40
TIMEOUT_S = 20.0

NAMES = (
    "text", "context_id", "contextId", "flush", "close_context", "close_socket",
    "voice_settings", "generation_config", "try_trigger_generation", "xi_api_key", "emotion",
    "sampling", "chunking", "glossary", "language", "speed", "seed", "language_code", "type",
    "sequence_id",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3.5, 10**400, float("inf"), "", "  ", "a", "b", "Hello there. ",
    "x" * 3000, "\ud83d", "\ude00", "\x00", "你好。", "Speak", "Flush", "Clear", "Close",
    "session.config", "input.text", [], [1], {}, {"speed": 1.1}, {"speed": "x"}, {"text": "sad"},
    {"chunk_length_schedule": [50, 100]}, {"chunk_length_schedule": [None]},
    {"chunk_length_schedule": [float("inf")]}, {"vector": [0] * 8}, {"seed": 1}, {"a": "b"},
)  # fmt: skip

GARBAGE: tuple[str | bytes, ...] = (b"x", "{", "[]")


def frames(seed: int) -> Iterator[str | bytes]:
    """What a client that means no good might say."""
    luck = random.Random(seed)
    for _ in range(FRAMES):
        message = {luck.choice(NAMES): luck.choice(VALUES) for _ in range(luck.randint(0, 5))}
        if luck.random() < 0.6:
            message["text"] = luck.choice(["Hello there. ", "and more, ", "", " ", "Yes!"])
        if luck.random() < 0.6:
            message["context_id"] = luck.choice("abcdefg")
        if luck.random() < 0.5:
            message["type"] = luck.choice(["Speak", "Flush", "Clear"])
        if luck.random() < 0.9:
            message.pop("close_socket", None)
        yield json.dumps(message) if luck.random() < 0.98 else luck.choice(GARBAGE)


async def talk(room: Room, seed: int) -> int:
    """Send the frames of a seed, say goodbye, and tell what the socket was closed with."""
    door = DOORS[seed % len(DOORS)]
    farewell = {"type": "Close"} if "speak?" in door else {"close_socket": True, "text": ""}
    url = room.url.replace("http", "ws", 1) + door
    async with asyncio.timeout(TIMEOUT_S), connect(url, max_queue=None) as socket:
        reading = asyncio.create_task(read(socket))
        try:
            for frame in frames(seed):
                await socket.send(frame)
            await socket.send(json.dumps(farewell))
        except ConnectionClosed:
            pass
        await reading
        assert socket.close_code is not None
        return socket.close_code


async def read(socket: ClientConnection) -> None:
    """Read to the end: every text is JSON."""
    try:
        async for message in socket:
            if isinstance(message, str):
                assert json.loads(message)
    except ConnectionClosed:
        pass


async def test_generated_frames_break_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    room = make_room(tmp_path, ToneScript(characters_per_second=300.0), active_requests=16)
    async with serving(room), nothing_left(room):
        caplog.clear()
        codes: set[int] = set()
        for first in range(0, SOCKETS, 8):
            codes |= set(await asyncio.gather(*(talk(room, first + n) for n in range(8))))
    assert codes <= {1000, 1008} and 1000 in codes
    assert not [entry for entry in caplog.records if entry.levelname == "ERROR"]
