"""Text on its way to the pipeline, cut into chunks as it comes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from enum import Enum, auto

from streaming.chunks import TextChunk, TextChunker

_PIECE_CHARACTERS = 16
"""Cut at a time, before others get their turn on the event loop."""


class _Mark(Enum):
    FLUSH = auto()
    FINISH = auto()


class TextFeed:
    """Takes text whenever it comes and gives chunks as soon as they are certain.

    Bounded by the session, which refuses text over the limits of a context.
    """

    def __init__(self) -> None:
        self._pieces: deque[str | _Mark] = deque()
        self._arrived = asyncio.Event()
        self._meter: Callable[[int], None] = lambda characters: None
        self._characters = 0
        self.complete = False

    @classmethod
    def whole(cls, text: str) -> TextFeed:
        """A feed of a text that is all there."""
        feed = cls()
        feed.put(text)
        feed.finish()
        return feed

    def charge(self, meter: Callable[[int], None]) -> None:
        """Tell ``meter`` of all characters, those included that are here already."""
        self._meter = meter
        meter(self._characters)

    def put(self, text: str) -> None:
        """Append text."""
        self._meter(len(text))
        self._characters += len(text)
        for start in range(0, len(text), _PIECE_CHARACTERS):
            self._add(text[start : start + _PIECE_CHARACTERS])

    def flush(self) -> None:
        """Speak what is buffered now; a second flush on end adds nothing."""
        if not self._pieces or self._pieces[-1] is not _Mark.FLUSH:
            self._add(_Mark.FLUSH)

    def finish(self) -> None:
        """There is no more text."""
        self.complete = True
        self._add(_Mark.FINISH)

    async def chunks(
        self, chunker: TextChunker, flush_after_s: float
    ) -> AsyncGenerator[TextChunk, None]:
        """Chunks until the text is finished; a clause is spoken after ``flush_after_s`` of silence.

        Raises what the chunker raises.
        """
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                for chunk in _cut(chunker, piece):
                    yield chunk
                if piece is _Mark.FINISH:
                    return
                await asyncio.sleep(0)
            self._arrived.clear()
            try:
                async with asyncio.timeout(
                    flush_after_s if chunker.buffered_is_clause_end else None
                ):
                    await self._arrived.wait()
            except TimeoutError:
                for chunk in chunker.flush():
                    yield chunk

    def _add(self, piece: str | _Mark) -> None:
        self._pieces.append(piece)
        self._arrived.set()


def _cut(chunker: TextChunker, piece: str | _Mark) -> list[TextChunk]:
    if isinstance(piece, str):
        return chunker.feed(piece)
    return chunker.flush() if piece is _Mark.FLUSH else chunker.finish()
