"""The native WebSocket protocol as a library: contexts that take text and give audio.

::

    async with connect("http://127.0.0.1:6008", {"voice": "anna"}) as connection:
        context = connection.context()
        await context.send("Hello there.")
        await context.done()
        async for event in context:
            if isinstance(event, Audio):
                play(event.pcm)
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from client.context import Audio, Context, Event
from client.errors import BrokenProtocol, CannotConnect, ClientError, ConnectionLost, error_of
from client.redial import Dial, redial
from client.urls import bearer, is_loopback, websocket_url
from streaming import wire
from streaming.errors import BadMessage, ResumeExpired, SpeechError
from streaming.fields import Changes, parse_fields

__all__ = ["Audio", "Connection", "Context", "Event", "connect"]

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
MESSAGE_CHARACTERS = 10_000
"""Sent in one message when the server publishes no limit."""

KEEP_ALIVE_S = 10.0
SILENCE_S = 60.0


class Connection:
    """An open connection; made by ``connect``.

    One that loses its socket goes on with another one, if the server keeps what is missed.
    """

    def __init__(self, socket: ClientConnection, session: wire.SessionCreated, dial: Dial) -> None:
        self.session = session
        self.socket = socket
        self._dial = dial
        self._changes: dict[str, Any] = {}
        self._contexts: dict[str, Context] = {}
        self._numbers: dict[int, Context] = {}
        self._ids = itertools.count(1)
        self._fatal: Exception | None = None
        self._tokens: list[str] = []  # any of them may stand for our contexts
        self._connected = asyncio.Event()
        self._connected.set()

    @property
    def message_characters(self) -> int:
        """Most characters the server takes in one message; longer text is sent in pieces."""
        limit = self.session.limits.get("message_characters")
        return limit if isinstance(limit, int) and limit > 0 else MESSAGE_CHARACTERS

    def context(
        self, context_id: str | None = None, config: Mapping[str, Any] | None = None
    ) -> Context:
        """A new context; ``config`` overrides the connection's for it.

        Raises ``InputError`` for a bad field, ``ValueError`` when a context of that id is open,
        and what ended the connection when it has ended.
        """
        if self._fatal is not None:
            raise self._fatal
        name = f"speech-{next(self._ids)}" if context_id is None else context_id
        if name in self._contexts:
            raise ValueError(f"context {name!r} is open")
        context = Context(self, name, parse_fields(config or {}))
        self._contexts[name] = context
        return context

    async def configure(self, config: Mapping[str, Any]) -> None:
        """Change the sticky defaults; raises ``InputError`` for a bad field."""
        await self.apply(parse_fields(config))

    async def apply(self, changes: Changes) -> None:
        """Change the sticky defaults by checked changes."""
        self._changes |= changes
        resume = True if self.session.resume_token else None
        await self.send(wire.SessionConfig(changes=self._changes, resume=resume))

    async def send(self, message: wire.ClientMessage) -> None:
        """Send any message; raises what ended the connection.

        A context that a lost socket kept from arriving sends its messages again.
        """
        await self._connected.wait()
        if self._fatal is not None:
            raise self._fatal
        try:
            await self.socket.send(wire.encode(message))
        except ConnectionClosed as error:
            if self._fatal is not None or not self._may_resume(error):
                raise self._fatal or _lost(error) from error

    def forget(self, context: Context) -> None:
        """Let a context go that has ended; called by the context alone."""
        if self._contexts.get(context.id) is context:
            del self._contexts[context.id]
        for number in [n for n, other in self._numbers.items() if other is context]:
            del self._numbers[number]

    async def read(self) -> None:
        """Deliver everything the server sends until the connection ends; run by ``connect``."""
        try:
            while True:
                try:
                    await self._read()
                except ConnectionClosed as error:
                    if not self._may_resume(error) or not await self._come_back():
                        raise
        except ConnectionClosed as error:
            self._fatal = self._fatal or _lost(error)
        except TimeoutError:
            self._fatal = ConnectionLost("the server has stopped answering")
        except BadMessage as error:
            self._fatal = BrokenProtocol(f"the server sent no message: {error.message}")
        except ClientError as error:
            self._fatal = error
        finally:
            self._fatal = self._fatal or ConnectionLost("the connection was closed")
            self._connected.set()
            for context in [*self._contexts.values()]:
                await context.receive(self._fatal)

    async def _read(self) -> None:
        while True:
            async with asyncio.timeout(SILENCE_S):
                data = await self.socket.recv()
            if isinstance(data, str):
                await self._receive(wire.decode_server(data))
            else:
                await self._receive_audio(data)

    def _may_resume(self, error: ConnectionClosed) -> bool:
        """Whether the socket was lost, not closed, and the server waits for another one."""
        return error.rcvd is None and self.session.resume_token is not None

    async def _come_back(self) -> bool:
        """Open another socket and go on there; ``False`` when it cannot be done in time."""
        self._connected.clear()
        for context in self._contexts.values():
            context.lose()
        self._tokens.append(self.session.resume_token or "")
        if (found := await redial(self._dial, self.session)) is None:
            return False
        self.socket, self.session = found
        with suppress(ConnectionClosed):  # then the reader finds it lost, too
            await self._ask()
        return True

    async def _ask(self) -> None:
        """Ask the server to go on; without anything to go on with, begin anew."""
        heard = {one.id: one.next_sample for one in self._contexts.values() if one.lost}
        if not heard:
            self._take_up()
            await self.apply({})
            return
        message = wire.SessionConfig(
            changes=self._changes, resume_token=self._tokens[0], next_sample=heard
        )
        await self.socket.send(wire.encode(message))

    async def _turned_away(self, error: ResumeExpired) -> None:
        """A token is not good: try the next, else say again what nothing was heard of."""
        del self._tokens[:1]
        if self._tokens:
            await self._ask()
            return
        self._take_up()
        await self.apply({})
        for context in [one for one in self._contexts.values() if one.lost]:
            if context.next_sample:
                await context.receive(error)
            else:
                anew = wire.SessionResumed(context_id=context.id, next_sample=0, state="unknown")
                await context.resume(anew)

    def _take_up(self) -> None:
        """The server goes on with us."""
        self._tokens.clear()
        self._connected.set()

    async def keep_alive(self) -> None:
        """Show the server that somebody listens, and see that it answers; run by ``connect``."""
        with suppress(ClientError, SpeechError):
            while True:
                await asyncio.sleep(KEEP_ALIVE_S)
                await self.send(wire.Ping())

    async def _receive(self, message: wire.ServerMessage) -> None:
        match message:
            case wire.AudioStart(context_id=name, utterance_index=number):
                for context in self._concerned(name):
                    self._numbers[number] = context
                    await context.receive(message)
            case wire.AudioDone() | wire.SessionDone() | wire.Cancelled() | wire.Warn():
                for context in self._concerned(message.context_id):
                    await context.receive(message)
            case wire.SessionResumed():
                self._take_up()
                for context in self._concerned(message.context_id):
                    await context.resume(message)
            case wire.Failure():
                await self._fail(message)
            case _:
                pass

    async def _receive_audio(self, data: bytes) -> None:
        number, _, first_sample, pcm = wire.untag(data)
        if (context := self._numbers.get(number)) is not None:
            await context.receive_audio(pcm, first_sample)

    async def _fail(self, failure: wire.Failure) -> None:
        """Raise in the context it belongs to; without one in all, and to whoever sends next."""
        error = _error_of(failure)
        if isinstance(error, ResumeExpired):
            if failure.context_id is None:
                return await self._turned_away(error)
            self._take_up()
        if failure.context_id is None:
            self._fatal = error
        for context in self._concerned(failure.context_id):
            await context.receive(error)

    def _concerned(self, context_id: str | None) -> list[Context]:
        if context_id is None:
            return list(self._contexts.values())
        return [self._contexts[context_id]] if context_id in self._contexts else []


def _error_of(failure: wire.Failure) -> SpeechError:
    return error_of(
        failure.code,
        failure.message,
        param=failure.param,
        retry_after_s=failure.retry_after_s,
        request_id=failure.request_id,
    )


@asynccontextmanager
async def connect(
    url: str,
    config: Mapping[str, Any] | None = None,
    *,
    key: str | None = None,
    open_timeout_s: float = 10.0,
) -> AsyncIterator[Connection]:
    """Connect to the server at ``url`` (http, https, ws or wss) with these sticky defaults.

    ``key`` is for servers that ask for one.

    ``config`` has the fields of ``session.config`` except ``format``, ``encoding`` and
    ``framing``, which are ours. Raises ``CannotConnect``, ``InputError`` for a bad field, and the
    server's refusal as a ``SpeechError``.
    """
    changes = parse_fields({**(config or {}), **_TRANSPORT})

    async def dial() -> tuple[ClientConnection, wire.SessionCreated]:
        socket = await _open(url, key, open_timeout_s)
        try:
            return socket, await _greeting(socket, open_timeout_s)
        except BaseException:
            await socket.close()
            raise

    connection = Connection(*await dial(), dial)
    try:
        await connection.apply(changes)
        tasks = [
            asyncio.create_task(connection.read(), name="read speech"),
            asyncio.create_task(connection.keep_alive(), name="keep speech alive"),
        ]
        try:
            yield connection
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
    finally:
        await connection.socket.close()


_TRANSPORT = {"format": "pcm", "encoding": "binary", "framing": "tagged"}


async def _open(url: str, key: str | None, timeout_s: float) -> ClientConnection:
    try:
        return await open_websocket(
            websocket_url(url),
            compression=None,
            proxy=None if is_loopback(url) else True,
            additional_headers=bearer(key),
            open_timeout=timeout_s,
            close_timeout=2.0,
            ping_interval=None,  # ``keep_alive`` asks the session, which says more than the socket
            max_size=MAX_MESSAGE_BYTES,
        )
    except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ValueError) as error:
        raise CannotConnect(f"cannot connect to {url}: {error}") from error


async def _greeting(socket: ClientConnection, timeout_s: float) -> wire.SessionCreated:
    """The first message; raises the refusal that comes in its place, or ``CannotConnect``."""
    try:
        async with asyncio.timeout(timeout_s):
            data = await socket.recv()
        message = wire.decode_server(data) if isinstance(data, str) else None
    except ConnectionClosed as error:
        raise _lost(error) from error
    except (TimeoutError, BadMessage) as error:
        raise CannotConnect("who answers there is no speech server") from error
    if isinstance(message, wire.Failure):
        raise error_of(message.code, message.message, retry_after_s=message.retry_after_s)
    if not isinstance(message, wire.SessionCreated):
        raise CannotConnect("who answers there is no speech server")
    return message


def _lost(error: ConnectionClosed) -> ConnectionLost:
    code = error.rcvd.code if error.rcvd is not None else None
    reason = error.rcvd.reason if error.rcvd is not None else ""
    detail = f" (close code {code}{': ' if reason else ''}{reason})" if code is not None else ""
    return ConnectionLost(f"the connection to the server was lost{detail}", close_code=code)
