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
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from client.errors import BrokenProtocol, CannotConnect, ClientError, ConnectionLost, error_of
from client.inbox import Inbox
from client.urls import is_loopback, websocket_url
from streaming import wire
from streaming.errors import BadMessage, SpeechError
from streaming.fields import Changes, parse_fields

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
BUFFER_BYTES = 16 * 1024 * 1024
EVENT_BYTES = 1024
"""What an event that is no audio counts in the buffer."""

MESSAGE_CHARACTERS = 10_000
"""Sent in one message when the server publishes no limit."""

KEEP_ALIVE_S = 10.0
SILENCE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio:
    """Mono s16le PCM; ``received_s`` is when it came, by ``time.monotonic``."""

    context_id: str
    pcm: bytes
    first_sample: int
    sample_rate_hz: int
    received_s: float

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return len(self.pcm) // 2


Event: TypeAlias = (
    Audio | wire.AudioStart | wire.AudioDone | wire.Warn | wire.SessionDone | wire.Cancelled
)
"""What a context yields; the last one is ``SessionDone`` or ``Cancelled``."""

_Item: TypeAlias = Event | Exception


class Context:
    """One piece of speech: send text, flush, then ``done`` or ``cancel``; iterate to hear it.

    Read it to its end or cancel it: a context that nobody reads holds up the whole connection once
    its buffer is full. Iterating raises the server's error as a ``SpeechError``, ``ConnectionLost``
    and ``BrokenProtocol``.
    """

    def __init__(self, connection: Connection, context_id: str, changes: Changes) -> None:
        self.id = context_id
        self._connection = connection
        self._changes = changes
        self._inbox: Inbox[_Item] = Inbox(
            max_bytes=BUFFER_BYTES, droppable=lambda item: isinstance(item, Audio)
        )
        self._next_sample = 0
        self._sample_rate_hz = 0
        self._sent = False
        self._read = False
        self.ended = False

    async def send(self, text: str) -> None:
        """Append text; it may be cut anywhere. Raises what ended the connection."""
        limit = self._connection.message_characters
        for start in range(0, len(text), limit):
            self._sent = True
            piece = text[start : start + limit]
            await self._connection.send(
                wire.InputText(text=piece, context_id=self.id, changes=self._changes)
            )
            self._changes = {}

    async def flush(self) -> None:
        """Have everything sent so far spoken, without waiting for the sentence to end."""
        if self._sent:
            await self._connection.send(wire.InputFlush(context_id=self.id))

    async def done(self) -> None:
        """No more text."""
        self._sent = True
        await self._connection.send(wire.InputDone(context_id=self.id))

    async def cancel(self, *, played_samples: int | None = None) -> None:
        """Stop at once and drop what was not read yet; iterating then ends with ``Cancelled``.

        ``played_samples``, when known, lets the server tell how far the text was heard.
        """
        await self._inbox.discard()
        if not self._sent:
            nothing = wire.Cancelled(context_id=self.id, sent_samples=0)
            await self._end(nothing)
        elif not self.ended:
            await self._connection.send(
                wire.InputCancel(context_id=self.id, played_samples=played_samples)
            )

    async def __aiter__(self) -> AsyncIterator[Event]:
        while not self._read:
            item = await self._inbox.get()
            if isinstance(item, Exception):
                self._read = True
                raise item
            self._read = isinstance(item, wire.SessionDone | wire.Cancelled)
            yield item

    async def receive(self, item: _Item) -> None:
        """Take what the connection read for this context; called by the connection alone."""
        if isinstance(item, wire.AudioStart):
            self._sample_rate_hz = item.sample_rate
        if isinstance(item, Exception | wire.SessionDone | wire.Cancelled):
            await self._end(item)
        elif not self.ended:
            await self._inbox.put(item, EVENT_BYTES)

    async def receive_audio(self, pcm: bytes, first_sample: int) -> None:
        """Take audio, checking that none was lost; called by the connection alone."""
        if first_sample != self._next_sample or len(pcm) % 2 or not self._sample_rate_hz:
            raise BrokenProtocol(
                f"audio at sample {first_sample} where {self._next_sample} was due"
            )
        self._next_sample += len(pcm) // 2
        audio = Audio(
            context_id=self.id,
            pcm=pcm,
            first_sample=first_sample,
            sample_rate_hz=self._sample_rate_hz,
            received_s=time.monotonic(),
        )
        await self._inbox.put(audio, len(pcm))

    async def _end(self, item: _Item) -> None:
        """Keep the last item; never waits, so that a connection can always end."""
        if not self.ended:
            self.ended = True
            self._connection.forget(self)
            await self._inbox.put_last(item)


class Connection:
    """An open connection; made by ``connect``."""

    def __init__(self, socket: ClientConnection, session: wire.SessionCreated) -> None:
        self.session = session
        self._socket = socket
        self._contexts: dict[str, Context] = {}
        self._numbers: dict[int, Context] = {}
        self._ids = itertools.count(1)
        self._fatal: Exception | None = None

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
        await self.send(wire.SessionConfig(changes=parse_fields(config)))

    async def send(self, message: wire.ClientMessage) -> None:
        """Send any message; raises what ended the connection."""
        if self._fatal is not None:
            raise self._fatal
        try:
            await self._socket.send(wire.encode(message))
        except ConnectionClosed as error:
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
                async with asyncio.timeout(SILENCE_S):
                    data = await self._socket.recv()
                if isinstance(data, str):
                    await self._receive(wire.decode_server(data))
                else:
                    await self._receive_audio(data)
        except ConnectionClosed as error:
            self._fatal = self._fatal or _lost(error)
        except TimeoutError:
            self._fatal = ConnectionLost("the server has stopped answering")
        except BadMessage as error:
            self._fatal = BrokenProtocol(f"the server sent no message: {error.message}")
        except ClientError as error:
            self._fatal = error
        finally:
            for context in [*self._contexts.values()]:
                await context.receive(self._fatal or ConnectionLost("the connection was closed"))

    async def keep_alive(self) -> None:
        """Show the server that somebody listens, and see that it answers; run by ``connect``."""
        with suppress(ClientError, SpeechError):
            while True:
                await asyncio.sleep(KEEP_ALIVE_S)
                await self.send(wire.Ping())

    async def _receive(self, message: wire.ServerMessage) -> None:
        match message:
            case wire.AudioStart():
                if (context := self._contexts.get(message.context_id)) is not None:
                    self._numbers[message.utterance_index] = context
                    await context.receive(message)
            case wire.AudioDone() | wire.SessionDone() | wire.Cancelled():
                if (context := self._contexts.get(message.context_id)) is not None:
                    await context.receive(message)
            case wire.Warn():
                for context in self._concerned(message.context_id):
                    await context.receive(message)
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
        error = error_of(
            failure.code,
            failure.message,
            param=failure.param,
            retry_after_s=failure.retry_after_s,
            request_id=failure.request_id,
        )
        if failure.context_id is None:
            self._fatal = error
        for context in self._concerned(failure.context_id):
            await context.receive(error)

    def _concerned(self, context_id: str | None) -> list[Context]:
        if context_id is None:
            return list(self._contexts.values())
        return [self._contexts[context_id]] if context_id in self._contexts else []


@asynccontextmanager
async def connect(
    url: str, config: Mapping[str, Any] | None = None, *, open_timeout_s: float = 10.0
) -> AsyncIterator[Connection]:
    """Connect to the server at ``url`` (http, https, ws or wss) with these sticky defaults.

    ``config`` has the fields of ``session.config`` except ``format``, ``encoding`` and
    ``framing``, which are ours. Raises ``CannotConnect``, ``InputError`` for a bad field, and the
    server's refusal as a ``SpeechError``.
    """
    changes = parse_fields({**(config or {}), **_TRANSPORT})
    socket = await _open(url, open_timeout_s)
    try:
        connection = Connection(socket, await _greeting(socket, open_timeout_s))
        await connection.send(wire.SessionConfig(changes=changes))
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
        await socket.close()


_TRANSPORT = {"format": "pcm", "encoding": "binary", "framing": "tagged"}


async def _open(url: str, timeout_s: float) -> ClientConnection:
    try:
        return await open_websocket(
            websocket_url(url),
            compression=None,
            proxy=None if is_loopback(url) else True,
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
