"""Text into chunks, while it is still being written."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace

from streaming.errors import TextTooLong
from streaming.pauses import LONGEST_PAUSE_MS, Pause, PauseScanner
from streaming.pieces import LONGEST_PIECE, Cut, Lexer, Piece, cut_after, joined

_CHARACTERS_PER_TOKEN = 16
_WEIGHED_TOGETHER = 32
"""A token counts as at most so many characters, which bounds the buffer; pieces are weighed in
groups of so many, since each weighed alone is rounded up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextChunk:
    """A piece of a context's text, ``[start, end)`` in its characters, without outer spaces.

    The pauses are those that the text asks for around it.
    """

    text: str
    index: int
    start: int
    end: int
    is_first: bool
    is_last: bool
    pause_before_ms: int = 0
    pause_after_ms: int = 0


class TextChunker:
    """Cuts text that arrives in any pieces; the cuts depend on the text alone.

    The first chunk ends at the first clause with ``first_min_tokens``, later ones at the first
    sentence that fills half of a cap that doubles from ``first_max_tokens`` to ``max_tokens``;
    where there is none, at the best place below the cap; any at a pause. Only a word longer than
    its cap may go up to ``max_tokens``. ``is_last`` is set on the last chunk that ``finish`` gives;
    there is none after a flush or pause with nothing behind it.
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
        self._scale = _Scale(estimate_tokens)
        self._first_cap = max(1, min(first_max_tokens, max_tokens))
        self._max_cap = max(1, max_tokens)
        self._first_min = max(1, min(first_min_tokens, self._first_cap))
        self._least_tail = 1 + self._first_min / 2
        self._limit_characters = limit_characters
        self._lexer = Lexer()
        self._scanner = PauseScanner()
        self._pause_before_ms = 0
        self._index = 0
        self._ramp = 0
        self._cap = self._first_cap
        self._pieces: list[Piece] = []
        self._hold([])

    @property
    def characters_in(self) -> int:
        """Characters fed so far."""
        return self._lexer.offset + len(self._scanner.held)

    @property
    def buffered(self) -> int:
        """Characters that wait for more text."""
        if self._pieces:
            return self.characters_in - self._pieces[0].start
        return len(self._lexer.open_text) + len(self._scanner.held)

    @property
    def buffered_is_clause_end(self) -> bool:
        """Whether what is buffered ends a clause, so that it may be flushed after a while."""
        text = (self._lexer.open_text + self._scanner.held).rstrip()
        cut = cut_after(text[-LONGEST_PIECE:], " ") if text else Cut.NEVER
        return cut >= Cut.CLAUSE

    def feed(self, text: str) -> list[TextChunk]:
        """Chunks that more text can no longer change.

        Raises ``TextTooLong`` when the context exceeds ``limit_characters``; nothing is taken then.
        """
        if self.characters_in + len(text) > self._limit_characters:
            raise TextTooLong(f"A context may hold {self._limit_characters} characters.")
        chunks: list[TextChunk] = []
        for character in text:
            for item in self._scanner.feed(character):
                if isinstance(item, Pause):
                    chunks += self._pause(item)
                else:
                    self._lexer.feed(item)
                if self._lexer.ready:
                    chunks += self._take_ready()
        return chunks

    def flush(self) -> list[TextChunk]:
        """Everything that is buffered; the context goes on and ramps up again."""
        chunks = self._drain(last=False)
        self._ramp = 0
        self._hold([])
        return chunks

    def finish(self) -> list[TextChunk]:
        """Everything that is buffered; there is no more text."""
        return self._drain(last=True)

    def _pause(self, pause: Pause) -> list[TextChunk]:
        """Cut here; the pause belongs to the chunk before it, or to the next one."""
        chunks = self._drain(last=False)
        self._lexer.skip(pause.characters)
        if chunks:
            chunks[-1] = replace(chunks[-1], pause_after_ms=pause.duration_ms)
        else:
            whole_ms = self._pause_before_ms + pause.duration_ms
            self._pause_before_ms = min(LONGEST_PAUSE_MS, whole_ms)
        return chunks

    def _drain(self, *, last: bool) -> list[TextChunk]:
        for character in self._scanner.release():
            self._lexer.feed(character)
        self._lexer.close()
        chunks = self._take_ready()
        while self._pieces:
            fits = self._scale.of(self._pieces) <= self._cap
            count = len(self._pieces) if fits else self._best(final=True)
            chunks.append(self._cut(count, last=last))
        return chunks

    def _take_ready(self) -> list[TextChunk]:
        ready, self._lexer.ready = self._lexer.ready, []
        chunks: list[TextChunk] = []
        for piece in ready:
            self._scale.weigh(piece)
            self._add(piece)
            while count := self._decided():
                chunks.append(self._cut(count))
        return chunks

    def _hold(self, pieces: list[Piece]) -> None:
        """Start a chunk with these pieces."""
        self._cap = min(self._max_cap, self._first_cap << min(self._ramp, 30))
        self._least = self._first_min if self._ramp == 0 else self._cap // 2
        self._wanted = Cut.CLAUSE if self._ramp == 0 else Cut.SENTENCE
        self._pieces = []
        self._tokens = 0.0
        self._early: tuple[int, float] | None = None
        for piece in pieces:
            self._add(piece)

    def _add(self, piece: Piece) -> None:
        self._pieces.append(piece)
        self._tokens += piece.tokens
        wanted = self._early is None and piece.cut >= self._wanted and self._tokens >= self._least
        if wanted and self._least <= self._scale.of(self._pieces) <= self._cap:
            self._early = len(self._pieces), self._tokens

    def _decided(self) -> int:
        """How many pieces make the next chunk, 0 while more text could change that."""
        if self._early:
            return self._early[0] if self._tokens - self._early[1] >= self._least_tail else 0
        enough = self._tokens >= self._cap + self._least_tail
        return self._best(final=False) if enough else 0

    def _best(self, *, final: bool) -> int:
        """How many pieces to cut off at the cap; 0 to wait for a place behind it."""
        goal = self._tokens / 2 if final and self._tokens <= 2 * self._cap else self._cap
        budget = float(self._cap)
        while count := self._most_welcome(goal, budget):
            if self._scale.of(self._pieces[:count]) <= self._cap:
                return count
            budget *= 0.9
        return self._beyond(final=final)

    def _most_welcome(self, goal: float, budget: float) -> int:
        """The best place within the budget, if possible one that leaves no tiny tail."""
        least = min(self._least, self._cap / 3)
        best, count, tokens = (False, Cut.NEVER, 0.0), 0, 0.0
        for at, piece in enumerate(self._pieces[:-1], start=1):
            tokens += piece.tokens
            if tokens > budget:
                break
            balanced = least <= tokens <= self._tokens - self._least_tail
            score = (balanced, piece.cut, -abs(goal - tokens))
            if piece.cut and (count == 0 or score > best):
                best, count = score, at
        return count

    def _beyond(self, *, final: bool) -> int:
        """The first place behind the cap, else any place below ``max_tokens``; 0 to wait."""
        end = len(self._pieces) if final else 0
        place = next((at for at, piece in enumerate(self._pieces, start=1) if piece.cut), end)
        if place and self._scale.of(self._pieces[:place]) <= self._max_cap:
            return place
        if not final and self._tokens < self._max_cap + self._least_tail:
            return 0
        return self._scale.most(self._pieces, self._max_cap) or self._split_first()

    def _split_first(self) -> int:
        """Cut a piece that is longer than any chunk may be."""
        self._pieces[:1] = self._scale.split(self._pieces[0], self._max_cap)
        self._tokens = sum(piece.tokens for piece in self._pieces)
        return 1

    def _cut(self, count: int, *, last: bool = False) -> TextChunk:
        pieces, rest = self._pieces[:count], self._pieces[count:]
        chunk = TextChunk(
            text=joined(pieces),
            index=self._index,
            start=pieces[0].start,
            end=pieces[-1].start + len(pieces[-1].text),
            is_first=self._index == 0,
            is_last=last and not rest,
            pause_before_ms=self._pause_before_ms,
        )
        self._pause_before_ms = 0
        self._index += 1
        self._ramp += 1
        self._hold(rest)
        return chunk


class _Scale:
    """Weighs pieces in tokens: exactly, or one after another at little cost."""

    def __init__(self, estimate_tokens: Callable[[str], int]) -> None:
        self.tokens = estimate_tokens
        self._group = ""
        self._group_tokens = estimate_tokens("")

    def of(self, pieces: list[Piece]) -> int:
        """What these pieces weigh together."""
        return self.tokens(joined(pieces))

    def most(self, pieces: list[Piece], tokens: int) -> int:
        """How many of the first pieces weigh at most so much together."""
        whole = len(pieces)
        if self.of(pieces) <= tokens:
            return whole
        return bisect_left(range(1, whole), True, key=lambda at: self.of(pieces[:at]) > tokens)

    def weigh(self, piece: Piece) -> None:
        """Set what a piece adds to those weighed before it."""
        length = len(piece.text) + len(piece.space)
        if len(self._group) > _WEIGHED_TOGETHER:
            self._group, self._group_tokens = "", self.tokens("")
        self._group += piece.text + piece.space[:1]
        before, self._group_tokens = self._group_tokens, self.tokens(self._group)
        piece.tokens = max(self._group_tokens - before, length / _CHARACTERS_PER_TOKEN)

    def split(self, piece: Piece, most_tokens: int) -> list[Piece]:
        """A piece in two if it weighs more than ``most_tokens``, so that the first does not."""
        tokens = self.tokens(piece.text)
        size = max(1, len(piece.text) * most_tokens // max(tokens, most_tokens))
        while size > 1 and self.tokens(piece.text[:size]) > most_tokens:
            size -= max(1, size // 8)
        if size == len(piece.text):
            return [piece]
        halves = list(piece.split(size))
        for half in halves:
            self.weigh(half)
        return halves
