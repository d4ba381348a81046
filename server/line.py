"""The line to one peer: a bounded outbox and a socket, which may be lost and replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect

from server.errors import close_code
from server.transport import LOST, hang_up, release
from streaming.effects import Close

_REASON_BYTES = 123


class Gone(Exception):
    """The connection is over; ends the task group."""


class Lost(Exception):
    """The socket died without a farewell."""


class Line:
    """Everything for the peer goes through ``put``; ``join`` returns when all of it was taken.

    A parked line has no socket: what is put is dropped while ``has_room`` says that somebody else
    keeps it, and waits otherwise. Only a ``resumable`` line outlives its socket.
    """

    def __init__(self, websocket: WebSocket, *, write_stall_s: float) -> None:
        self.websocket = websocket
        self.parked = False
        self.resumable = False
        self.has_room: Callable[[], bool] = lambda: False
        self._write_stall_s = write_stall_s
        self._outbox: asyncio.Queue[str | bytes | Close] = asyncio.Queue()
        self._attached = asyncio.Event()
        self._lost = asyncio.Event()

    @property
    def unsent(self) -> int:
        """Messages that the socket has not taken yet."""
        return self._outbox.qsize()

    def put(self, item: str | bytes | Close) -> None:
        """Send a message, or close."""
        self._outbox.put_nowait(item)

    async def join(self) -> None:
        """Return when the socket has taken everything."""
        await self._outbox.join()

    async def eased(self) -> None:
        """Return when the socket has taken everything, or is lost."""
        waits = [asyncio.ensure_future(w) for w in (self._outbox.join(), self._lost.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def receive(self) -> str | bytes:
        """The next message of the peer; raises ``Gone`` or ``Lost``."""
        message = await self.websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise Lost if message.get("code") == LOST else Gone
        data: str | None = message.get("text")
        return message.get("bytes") or b"" if data is None else data

    async def write(self, stalled: Callable[[], None]) -> None:
        """Send what is put, for ever; ``stalled`` is called when the peer reads nothing.

        Raises ``Gone``.
        """
        while True:
            item = await self._outbox.get()
            if self.parked:
                await self._keep(item)
            else:
                try:
                    async with asyncio.timeout(self._write_stall_s):
                        await self._send(item)
                except TimeoutError:
                    await self._give_up(stalled)
                except WebSocketDisconnect:
                    if not self.resumable:
                        raise Gone from None
                    self.park()
            self._outbox.task_done()

    def hang_up(self) -> None:
        """Drop the socket as if it had been lost."""
        hang_up(self.websocket.scope)

    def park(self) -> None:
        """The socket is lost; another one may come."""
        self.parked = True
        self._attached.clear()
        self._lost.set()

    async def attached(self) -> None:
        """Return when there is a socket."""
        await self._attached.wait()

    def attach(self, websocket: WebSocket) -> None:
        """Go on with another socket; what the one before did not take is dropped."""
        while not self._outbox.empty():
            self._outbox.get_nowait()
            self._outbox.task_done()
        self.websocket = websocket
        self.parked = False
        self._lost.clear()
        self._attached.set()

    async def _keep(self, item: str | bytes | Close) -> None:
        if isinstance(item, Close):
            raise Gone
        if not self.has_room():
            await self._attached.wait()

    async def _give_up(self, stalled: Callable[[], None]) -> None:
        """The peer reads nothing: leave the reason in the buffer, let go."""
        release(self.websocket.scope)
        while not self._outbox.empty():
            self._outbox.get_nowait()
        stalled()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._write_stall_s):
                while True:
                    await self._send(self._outbox.get_nowait())
        raise Gone

    async def _send(self, item: str | bytes | Close) -> None:
        if isinstance(item, str):
            await self.websocket.send_text(item)
        elif isinstance(item, bytes):
            await self.websocket.send_bytes(item)
        else:
            reason = item.reason.encode()[:_REASON_BYTES].decode(errors="ignore")
            await self.websocket.close(close_code(item.code), reason)
            raise Gone
