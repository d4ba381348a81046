"""Real clients on real sockets, and the means to see what they left behind."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from streaming import wire
from tests.server.rooms import Room, eventually

TIMEOUT_S = 10.0


@dataclass
class Talk:
    """A WebSocket client that keeps everything it was told, in order."""

    socket: ClientConnection
    heard: list[wire.ServerMessage | bytes] = field(default_factory=list)

    async def send(self, kind: str, **fields: Any) -> None:
        """Send a message."""
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def next(self) -> wire.ServerMessage | bytes:
        """The next message; raises ``ConnectionClosed``."""
        async with asyncio.timeout(TIMEOUT_S):
            data = await self.socket.recv()
        item = data if isinstance(data, bytes) else wire.decode_server(data)
        self.heard.append(item)
        return item

    async def until(self, *kinds: type[Any]) -> Any:
        """Read up to the first message of one of these kinds."""
        while not isinstance(item := await self.next(), kinds):
            pass
        return item

    async def error(self, code: str) -> wire.Failure:
        """Read up to an error, which has that code."""
        failure: wire.Failure = await self.until(wire.Failure)
        assert failure.code == code
        return failure

    async def close_code(self) -> int | None:
        """Read to the end of the connection; what it was closed with."""
        try:
            while True:
                await self.next()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None

    @property
    def pcm(self) -> bytes:
        """All binary audio so far."""
        return b"".join(item for item in self.heard if isinstance(item, bytes))

    def all(self, kind: type[wire.ServerMessage]) -> list[Any]:
        """Messages of a kind so far."""
        return [item for item in self.heard if isinstance(item, kind)]


@asynccontextmanager
async def talk(room: Room, **config: Any) -> AsyncIterator[Talk]:
    """A greeted client; ``config`` is sent as its session.config."""
    # With a bounded queue an unread client does not see the server's half of the closing handshake.
    async with connect(room.socket_url, max_queue=None) as socket:
        client = Talk(socket)
        await client.until(wire.SessionCreated)
        if config:
            await client.send("session.config", **config)
        yield client


@asynccontextmanager
async def nothing_left(room: Room) -> AsyncIterator[None]:
    """Tasks, descriptors and places are back to what they were when the block ends."""
    process = psutil.Process()

    def left() -> tuple[set[str], int, int, int]:
        tasks = {task.get_name() for task in asyncio.all_tasks()}
        places = room.service.admission.active + room.service.admission.waiting
        return tasks, process.num_fds(), places + room.service.sessions, room.model.live

    async def alone() -> bool:
        return room.service.sessions == 0

    await eventually(alone)
    gc.collect()
    before = left()
    yield

    gc.collect()

    async def same() -> bool:
        return left() == before

    try:
        await eventually(same)
    except AssertionError:
        raise AssertionError(f"left behind: {left()}, before: {before}") from None
