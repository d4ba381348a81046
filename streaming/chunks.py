"""Text into chunks, while it is still being written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TextChunk:
    """A piece of a context's text, ``[start, end)`` in its characters."""

    text: str
    index: int
    start: int
    end: int
    is_first: bool
    is_last: bool


class TextChunker:
    """Cuts text that arrives in any pieces; the cuts depend on the text alone.

    ``is_last`` is set on the last chunk that ``finish`` gives; there is none after a flush with
    nothing behind it.
    """

    def __init__(
        self,
        *,
        estimate_tokens: Callable[[str], int],
        first_max_tokens: int,
        max_tokens: int,
        first_min_tokens: int = 4,
        limit_characters: int = 1_000_000,
    ) -> None:
        self._estimate_tokens = estimate_tokens

    @property
    def characters_in(self) -> int:
        """Characters fed so far."""
        return 0

    @property
    def buffered(self) -> int:
        """Characters that wait for more text."""
        return 0

    @property
    def buffered_is_clause_end(self) -> bool:
        """Whether what is buffered ends a clause, so that it may be flushed after a while."""
        return False

    def feed(self, text: str) -> list[TextChunk]:
        """Chunks that more text can no longer change.

        Raises ``TextTooLong`` when the context exceeds ``limit_characters``.
        """
        return []

    def flush(self) -> list[TextChunk]:
        """Everything that is buffered; the context goes on and ramps up again."""
        return []

    def finish(self) -> list[TextChunk]:
        """Everything that is buffered; there is no more text."""
        return []
