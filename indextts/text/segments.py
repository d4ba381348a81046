"""Cuts pieces into segments the model can speak (frontend specification, section 5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from indextts.text.language import RuleSet
from indextts.text.tokenizer import WORD_START

_END_MARKS: Final = frozenset({".", "!", "?", "▁.", "▁?", "▁..."})
_COMMAS: Final = frozenset({",", "▁,"})
_HYPHENS: Final = frozenset({"-"})
_QUOTES: Final = frozenset({"'", "▁'"})

Pieces = list[str]


def split_segments(
    pieces: Sequence[str], max_tokens: int, rules: RuleSet = "default", *, quick_tokens: int = 0
) -> list[Pieces]:
    """Segments of at most ``max_tokens`` pieces, cut at ends of sentences where possible.

    By default they are ``pieces`` and nothing else, and with ``max_tokens`` of 3 or more none of
    several is a single piece. The other rules repeat the reference: a quote after an end mark is
    spoken twice, and the segment it closes may be one piece too long. ``quick_tokens`` keeps
    early segments short under ``upstream25`` and means nothing elsewhere. Raises ``ValueError``
    when ``max_tokens`` is not positive.
    """
    if max_tokens < 1:
        raise ValueError("max_tokens must be positive")
    if rules == "upstream25":
        eager = _EagerSplitter(max_tokens, duplicate_quotes=True, quick_tokens=quick_tokens)
        return eager.split(pieces, _END_MARKS)
    if rules != "default":
        return _Splitter(max_tokens, duplicate_quotes=True).split(pieces, _END_MARKS)
    single = _Splitter(max_tokens, duplicate_quotes=False)
    return _balance(single.split(pieces, _END_MARKS), max_tokens)


class _Splitter:
    """One walk over the pieces; too long runs are split again at commas, then at hyphens."""

    def __init__(self, max_tokens: int, *, duplicate_quotes: bool) -> None:
        self._max_tokens = max_tokens
        self._duplicate_quotes = duplicate_quotes

    def split(
        self, pieces: Sequence[str], marks: frozenset[str], tried: frozenset[str] = frozenset()
    ) -> list[Pieces]:
        """Segments of ``pieces`` that close at ``marks``; never split at ``tried`` again."""
        tried |= marks
        segments: list[Pieces] = []
        run: Pieces = []
        skip = False
        for at, piece in enumerate(pieces):
            if skip:
                skip = False
                continue
            run.append(piece)
            cut = self._resplit(run, tried)
            if cut is not None:
                segments.extend(cut)
                run = []
            elif piece in marks and len(run) > 2:
                following = pieces[at + 1] if at + 1 < len(pieces) else ""
                if following in _QUOTES and self._takes_quote(run):
                    run.append(following)
                    skip = not self._duplicate_quotes
                segments.append(run)
                run = []
        if run:
            segments.append(run)
        return self._merge(segments)

    def _takes_quote(self, run: Pieces) -> bool:
        return self._duplicate_quotes or len(run) < self._max_tokens

    def _resplit(self, run: Pieces, tried: frozenset[str]) -> list[Pieces] | None:
        if len(run) <= self._max_tokens:
            return None
        for marks in (_COMMAS, _HYPHENS):
            if not marks <= tried and not marks.isdisjoint(run):
                return self.split(run, marks, tried)
        return [run[: self._max_tokens], run[self._max_tokens :]]

    def _merge(self, segments: list[Pieces]) -> list[Pieces]:
        merged: list[Pieces] = []
        for segment in segments:
            if merged and len(merged[-1]) + len(segment) <= self._max_tokens:
                merged[-1] = merged[-1] + segment
            else:
                merged.append(segment)
        return merged


class _EagerSplitter(_Splitter):
    """The walk of upstream's 2.5 tree: every comma and hyphen closes a run (section 5.2)."""

    def __init__(self, max_tokens: int, *, duplicate_quotes: bool, quick_tokens: int) -> None:
        super().__init__(max_tokens, duplicate_quotes=duplicate_quotes)
        self._quick_tokens = quick_tokens

    def _resplit(self, run: Pieces, tried: frozenset[str]) -> list[Pieces] | None:
        for marks in (_COMMAS, _HYPHENS):
            if not marks <= tried and run[-1] in marks:
                return self.split(run, marks, tried)
        if len(run) <= self._max_tokens:
            return None
        return [run[: self._max_tokens], run[self._max_tokens :]]

    def _merge(self, segments: list[Pieces]) -> list[Pieces]:
        merged: list[Pieces] = []
        total = 0
        for segment in segments:
            total += len(segment)
            together = len(merged[-1]) + len(segment) if merged else 0
            late = together <= self._max_tokens and total > self._quick_tokens
            if merged and (late or together <= self._max_tokens / 2):
                merged[-1] = merged[-1] + segment
            else:
                merged.append(segment)
        return merged


def _balance(segments: list[Pieces], max_tokens: int) -> list[Pieces]:
    """Let every single piece join a neighbour or share its pieces."""
    balanced: list[Pieces] = []
    for segment in segments:
        if not balanced or 1 not in (len(balanced[-1]), len(segment)):
            balanced.append(segment)
            continue
        pair = balanced.pop() + segment
        balanced.extend([pair] if len(pair) <= max_tokens else _halve(pair))
    return balanced


def _halve(run: Pieces) -> Iterator[Pieces]:
    """Two halves, cut before the word nearest to the middle."""
    middle = len(run) // 2
    starts = [at for at in range(2, len(run) - 1) if run[at].startswith(WORD_START)]
    cut = min(starts, key=lambda at: abs(at - middle), default=middle)
    yield run[:cut]
    yield run[cut:]
