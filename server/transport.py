"""uvicorn, taught three things: to wait for live speech on shutdown, to let go of a peer that is
stuck, and of one that never asks for anything.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp, Scope
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from streaming.session import Limits

EXTENSION = "indextts.socket"
"""Key of the ``SpeechSocket`` in a connection's ASGI extensions."""

BACKLOG = 1024
"""Connections that wait to be accepted."""

_ACCEPTED_AT_ONCE = 8
"""Connections accepted in one turn of the event loop: many new requests that went on in step would
each take as long as all of them, and hold up everybody else's audio.
"""

LOST = 1006
"""What a WebSocket ends with that nobody closed on purpose."""

_SEND_BUFFER_BYTES = 64 * 2**10
"""The kernel's share of what a peer has not read. Linux would let it grow to megabytes, and wakes a
blocked writer when a third of it is free: who reads as fast as speech plays would look stuck.
"""

_KEEPALIVE_FAILED = 1011
_LINGER_S = 5.0
_LOOK_S = 0.1


class SpeechHttp(H11Protocol):
    """An HTTP connection that has ``head_timeout_s`` to ask for something, each time.

    Delete this when uvicorn bounds the wait for a request's head.
    """

    def __init__(self, *args: Any, head_timeout_s: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timeout_s = head_timeout_s
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The clock runs from the first moment."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """A whole head stops the clock, a piece of the next one starts it."""
        super().data_received(data)
        self._watch()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Another protocol takes over."""
        super().handle_websocket_upgrade(event)
        self._stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is due any more."""
        self._stop()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.transport.get_protocol() is not self:
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self._head_timeout_s, self.transport.abort)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class SpeechSocket(WebSocketsSansIOProtocol):
    """A WebSocket whose stuck writer can be released.

    ASGI has no way to close a connection whose peer reads nothing: ``send`` waits for a writable
    transport for ever, the close message included. Delete this when uvicorn bounds that wait.
    """

    async def run_asgi(self) -> None:
        """Offer this object to the application."""
        extensions: dict[str, object] = self.scope["extensions"]  # type: ignore[assignment]
        extensions[EXTENSION] = self
        await super().run_asgi()

    async def send(self, message: ASGISendEvent) -> None:
        """As uvicorn does, but a refused handshake counts as answered and is no error in the log.

        Delete this when uvicorn stops complaining of ``websocket.http.response``.
        """
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            self.handshake_complete = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Say 1006, as RFC 6455 (7.1.5) asks, when nobody closed the WebSocket on purpose.

        Delete this when uvicorn tells a lost connection from one that was closed without a code.
        """
        closed = self.conn.close_rcvd or self.conn.close_sent
        if self.handshake_complete and (closed is None or closed.code == _KEEPALIVE_FAILED):
            self.queue.put_nowait({"type": "websocket.disconnect", "code": LOST})
        super().connection_lost(exc)

    def release(self) -> None:
        """Let pending sends through to the buffer, and drop the connection soon."""
        self.writable.set()
        self.loop.call_later(_LINGER_S, self.transport.abort)


def release(scope: Scope) -> None:
    """Release the connection of an ASGI scope, if it is one of ours."""
    peer = scope.get("extensions", {}).get(EXTENSION)
    if isinstance(peer, SpeechSocket):
        peer.release()


def hang_up(scope: Scope) -> None:
    """Drop the connection of an ASGI scope at once, if it is one of ours."""
    peer = scope.get("extensions", {}).get(EXTENSION)
    if isinstance(peer, SpeechSocket):
        peer.transport.abort()


class SpeechServer(uvicorn.Server):
    """On a signal, drain first: answer newcomers with 503 and 1012, let live speech finish."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._drain = drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, which listens with its accepting batch for a queue."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(BACKLOG)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain (a second interrupt ends the wait at once), then shut down as uvicorn does."""
        draining = asyncio.ensure_future(self._drain())
        while not (draining.done() or self.force_exit):
            await asyncio.wait((draining,), timeout=_LOOK_S)
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """As uvicorn does, but a signal that was obeyed does not kill the process afterwards."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def make_server(
    app: ASGIApp, *, limits: Limits, head_timeout_s: float, drain: Callable[[], Awaitable[None]]
) -> SpeechServer:
    """A server for our application; give ``serve`` the sockets of ``listen``.

    A connection that asks for nothing is dropped after ``head_timeout_s``.
    """
    # h11, since httptools, which uvicorn would prefer, bounds no headers.
    http: Any = partial(SpeechHttp, head_timeout_s=head_timeout_s)
    config = uvicorn.Config(
        app,
        http=http,
        ws=SpeechSocket,
        backlog=_ACCEPTED_AT_ONCE,
        ws_max_size=limits.frame_bytes,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=2,
        log_config=None,
        access_log=False,
        server_header=False,
    )
    return SpeechServer(config, drain)


def listen(host: str, port: int, *, limits: Limits) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises ``OSError``."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    # Connections inherit these options.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # The kernel drops a peer that stops reading, HTTP included.
        stall_ms = int((limits.write_stall_s + 2 * _LINGER_S) * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, stall_ms)
    return listener
