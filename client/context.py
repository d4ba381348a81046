"""One piece of speech of a connection: what it was told and what it hears."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from client.errors import BrokenProtocol
from client.inbox import Inbox
from streaming import wire
from streaming.fields import Changes

BUFFER_BYTES = 16 * 1024 * 1024
EVENT_BYTES = 1024
"""What an event that is no audio counts in the buffer."""


class Line(Protocol):
    """The connection as its contexts see it."""

    @property
    def message_characters(self) -> int:
        """Most characters in one message."""
        ...

    async def send(self, message: wire.ClientMessage) -> None:
        """Send a message; raises what ended the connection."""
        ...

    def forget(self, context: Context) -> None:
        """Let a context go that has ended."""
        ...


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

    def __init__(self, connection: Line, context_id: str, changes: Changes) -> None:
        self.id = context_id
        self._connection = connection
        self._changes = changes
        self._inbox: Inbox[_Item] = Inbox(
            max_bytes=BUFFER_BYTES, droppable=lambda item: isinstance(item, Audio)
        )
        self.next_sample = 0
        self._sample_rate_hz = 0
        self._said: list[tuple[int, wire.ClientMessage]] = []
        """Every message, and how many characters were written before it."""
        self._characters = 0
        self.lost = False
        self._started = self._done = -1
        self._read = False
        self.ended = False

    async def send(self, text: str) -> None:
        """Append text; it may be cut anywhere. Raises what ended the connection."""
        limit = self._connection.message_characters
        for start in range(0, len(text), limit):
            piece, changes = text[start : start + limit], self._changes
            self._changes = {}
            await self._say(wire.InputText(text=piece, context_id=self.id, changes=changes))

    async def flush(self) -> None:
        """Have everything sent so far spoken, without waiting for the sentence to end."""
        if self._said:
            await self._say(wire.InputFlush(context_id=self.id))

    async def done(self) -> None:
        """No more text."""
        await self._say(wire.InputDone(context_id=self.id))

    async def cancel(self, *, played_samples: int | None = None) -> None:
        """Stop at once and drop what was not read yet; iterating then ends with ``Cancelled``.

        ``played_samples``, when known, lets the server tell how far the text was heard.
        """
        await self._inbox.discard()
        if not self._said:
            nothing = wire.Cancelled(context_id=self.id, sent_samples=0)
            await self._end(nothing)
        elif not self.ended:
            await self._say(wire.InputCancel(context_id=self.id, played_samples=played_samples))

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
        if self._known(item):
            return
        if isinstance(item, wire.AudioStart):
            self._sample_rate_hz = item.sample_rate
        if isinstance(item, Exception | wire.SessionDone | wire.Cancelled):
            await self._end(item)
        elif not self.ended:
            await self._inbox.put(item, EVENT_BYTES)

    async def receive_audio(self, pcm: bytes, first_sample: int) -> None:
        """Take audio, checking that none was lost; called by the connection alone."""
        if first_sample != self.next_sample or len(pcm) % 2 or not self._sample_rate_hz:
            raise BrokenProtocol(f"audio at sample {first_sample} where {self.next_sample} was due")
        self.next_sample += len(pcm) // 2
        audio = Audio(
            context_id=self.id,
            pcm=pcm,
            first_sample=first_sample,
            sample_rate_hz=self._sample_rate_hz,
            received_s=time.monotonic(),
        )
        await self._inbox.put(audio, len(pcm))

    def lose(self) -> None:
        """The socket is lost; what was said may not have arrived."""
        self.lost = bool(self._said)

    async def resume(self, message: wire.SessionResumed) -> None:
        """Go on on another socket; says again what has not arrived."""
        if message.next_sample != self.next_sample:
            raise BrokenProtocol(f"resumed at {message.next_sample}, not {self.next_sample}")
        for before, said in self._said:  # and what is added meanwhile
            if before >= message.characters_in and message.state != "ended":
                await self._connection.send(said)
        self.lost = False

    async def _say(self, message: wire.ClientMessage) -> None:
        self._said.append((self._characters, message))
        if isinstance(message, wire.InputText):
            self._characters += len(message.text)
        if not self.lost:
            await self._connection.send(message)

    def _known(self, item: _Item) -> bool:
        """Whether it was heard before: beginnings and ends of chunks may come again."""
        if isinstance(item, wire.AudioStart):
            known, self._started = item.sentence_index <= self._started, item.sentence_index
            return known
        if isinstance(item, wire.AudioDone):
            known, self._done = item.sentence_index <= self._done, item.sentence_index
            return known
        return False

    async def _end(self, item: _Item) -> None:
        """Keep the last item; never waits, so that a connection can always end."""
        if not self.ended:
            self.ended = True
            self._connection.forget(self)
            await self._inbox.put_last(item)
