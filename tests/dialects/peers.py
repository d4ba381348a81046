"""A bare WebSocket client for the protocols of other services."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.server.rooms import Room

TIMEOUT_S = 10.0


@dataclass
class Peer:
    """Keeps everything it was told, in order: bytes, and objects of JSON."""

    socket: ClientConnection
    heard: list[Any] = field(default_factory=list)

    async def send(self, **message: Any) -> None:
        """Send an object."""
        await self.socket.send(json.dumps(message))

    async def next(self) -> Any:
        """The next message; raises ``ConnectionClosed``."""
        async with asyncio.timeout(TIMEOUT_S):
            data = await self.socket.recv()
        self.heard.append(data if isinstance(data, bytes) else json.loads(data))
        return self.heard[-1]

    async def until(self, **wanted: Any) -> Any:
        """Read up to the first object with these fields."""
        while True:
            item = await self.next()
            if isinstance(item, dict) and wanted.items() <= item.items():
                return item

    async def end(self) -> int:
        """Read to the end of the connection; what it was closed with."""
        try:
            while True:
                await self.next()
        except ConnectionClosed as closed:
            assert closed.rcvd is not None
            return closed.rcvd.code

    def messages(self, **wanted: Any) -> list[dict[str, Any]]:
        """Objects so far that have these fields."""
        objects = [item for item in self.heard if isinstance(item, dict)]
        return [item for item in objects if wanted.items() <= item.items()]

    def audio(self, **wanted: Any) -> bytes:
        """All audio so far: of ElevenLabs' messages with these fields."""
        pieces = [item.get("audio") or "" for item in self.messages(**wanted)]
        return b"".join(base64.b64decode(piece) for piece in pieces)

    def binary(self) -> list[bytes]:
        """Binary messages so far."""
        return [item for item in self.heard if isinstance(item, bytes)]


@asynccontextmanager
async def peer(room: Room, target: str, **headers: str) -> AsyncIterator[Peer]:
    """A connected client."""
    url = room.url.replace("http", "ws", 1) + target
    async with connect(url, max_queue=None, additional_headers=headers) as socket:
        yield Peer(socket)
