"""When each chunk, word and character is heard, and subtitles made of it.

Chunk times are exact to the sample. Times inside a chunk are estimates: its audible time is shared
out by how long characters take to say, and pauses in the sound are set where the text has a mark.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from streaming.pieces import Lexer, Piece, is_wide

LONGEST_CUE = 84
"""Characters of one subtitle: two lines of 42."""

_HOP_MS = 10
_SHORTEST_PAUSE_MS = 80
_QUIET = 10 ** (-30 / 20)
"""A hop this far below the loudest one is a pause."""

_AUDIBLE = 32
"""A 16-bit sample below this one (-60 dB of full scale) is silence whatever is around it."""

_MARK = re.compile(r"[.,;:!?…—–-]+[\"'”’)\]]*\s+|[，。！？；：、…—]+[”’」』）】》]*\s*|\s*\n\s*")
_SPACE = re.compile(r"\s+")
_REACH, _SPACE_REACH_MS = 0.2, 150.0
"""How far a pause may be from where its mark is expected, as a share of the audible time; the same
for a space."""

_DIGIT, _WIDE, _OTHER = 4.0, 3.0, 1.0
"""How long characters take to say: a digit is a word, a wide one a syllable."""

_Numbers: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A piece of text and when it is heard, from the beginning of its context's audio."""

    text: str
    start_ms: float
    end_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkTimes:
    """A chunk, exactly, with its gap; its characters and words by estimate."""

    text: str
    start_ms: float
    end_ms: float
    characters: tuple[Span, ...]

    @property
    def words(self) -> tuple[Span, ...]:
        """Words and wide characters, with their punctuation."""
        return tuple(self._spoken(piece) for piece in _pieces(self.text))

    @property
    def cues(self) -> tuple[Span, ...]:
        """The chunk as subtitles: whole if short, else cut between words."""
        lines: list[Span] = []
        space = ""
        for piece in _pieces(self.text):
            word = self._spoken(piece)
            if lines and len(joined := lines[-1].text + space + word.text) <= LONGEST_CUE:
                lines[-1] = replace(lines[-1], text=joined, end_ms=word.end_ms)
            else:
                lines.append(word)
            space = " " if piece.space else ""
        return tuple(lines)

    def _spoken(self, piece: Piece) -> Span:
        """When a piece is heard, without the pause at its marks."""
        inside = self.characters[piece.start : piece.start + len(piece.text)]
        said = [span for span in inside if _weight(span.text)] or inside
        return Span(text=piece.text, start_ms=said[0].start_ms, end_ms=said[-1].end_ms)


class ChunkTimer:
    """Listens to one chunk while it is sent: ``push`` its s16le PCM, then ask for ``times``."""

    def __init__(self, *, text: str, first_sample: int, sample_rate_hz: int) -> None:
        self._text = text
        self._rate_hz = sample_rate_hz
        self._start_ms = first_sample * 1000 / sample_rate_hz
        self._hop = max(1, sample_rate_hz * _HOP_MS // 1000)
        self._rest = np.zeros(0, np.int16)
        self._peaks: list[int] = []
        self._samples = 0

    def push(self, pcm: bytes) -> None:
        """Take the samples that are heard next."""
        samples = np.concatenate([self._rest, np.frombuffer(pcm, "<i2")])
        self._samples += len(pcm) // 2
        whole = len(samples) // self._hop * self._hop
        hops = np.abs(samples[:whole].astype(np.int32)).reshape(-1, self._hop)
        self._peaks += hops.max(axis=1).tolist()
        self._rest = samples[whole:]

    def times(self) -> ChunkTimes:
        """When the chunk and its characters are heard."""
        duration_ms = self._samples * 1000 / self._rate_hz
        edges = _edges(self._text, np.array(self._peaks, np.int64))
        hop_ms = self._hop * 1000 / self._rate_hz
        starts, ends = (self._start_ms + np.minimum(e * hop_ms, duration_ms) for e in edges)
        return ChunkTimes(
            text=self._text,
            start_ms=self._start_ms,
            end_ms=self._start_ms + duration_ms,
            characters=tuple(
                Span(text=character, start_ms=start, end_ms=end)
                for character, start, end in zip(
                    self._text, starts.tolist(), ends.tolist(), strict=True
                )
            ),
        )


def srt(spans: Iterable[Span]) -> str:
    """SubRip subtitles."""
    return "\n".join(
        f"{number}\n{_clock(span.start_ms, ',')} --> {_clock(span.end_ms, ',')}\n{span.text}\n"
        for number, span in enumerate(spans, start=1)
    )


def vtt(spans: Iterable[Span]) -> str:
    """WebVTT subtitles (W3C WebVTT, section 4)."""
    blocks = ["WEBVTT\n"]
    for span in spans:
        text = span.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        blocks.append(f"{_clock(span.start_ms, '.')} --> {_clock(span.end_ms, '.')}\n{text}\n")
    return "\n".join(blocks)


def _clock(at_ms: float, point: str) -> str:
    seconds, ms = divmod(round(at_ms), 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{ms:03}"


def _pieces(text: str) -> list[Piece]:
    lexer = Lexer()
    for character in text:
        lexer.feed(character)
    lexer.close()
    return lexer.ready


def _weight(character: str) -> float:
    """How long a character takes to say, relative to a letter; marks and spaces take nothing."""
    if not character.isalnum():
        return 0.0
    if character.isdigit():
        return _DIGIT
    return _WIDE if is_wide(character) else _OTHER


def _edges(text: str, peaks: NDArray[np.int64]) -> tuple[_Numbers, _Numbers]:
    """Start and end of every character, in hops from the beginning of the chunk."""
    weights = np.array([_weight(character) for character in text], np.float64)
    heard = np.flatnonzero(peaks > max(_AUDIBLE, _QUIET * peaks.max(initial=0)))
    if not len(heard) or not weights.any():
        edges = np.linspace(0.0, float(len(peaks)), len(text) + 1)
        return edges[:-1], edges[1:]
    least = _SHORTEST_PAUSE_MS / _HOP_MS
    pauses = [(int(a) + 1, int(b)) for a, b in pairwise(heard) if b - a > least]
    audible = np.zeros(len(peaks), bool)
    audible[heard[0] : heard[-1] + 1] = True
    for start, end in pauses:
        audible[start:end] = False
    edges = np.zeros((2, len(text)))
    at, since = 0, int(heard[0])
    for (first, last), (start, end) in _anchors(text, weights, pauses, audible):
        edges[:, at:first] = _shared(weights[at:first], audible, since, start)
        mark = np.linspace(start, end, last - first + 1)  # the mark takes the pause
        edges[:, first:last] = mark[:-1], mark[1:]
        at, since = last, end
    edges[:, at:] = _shared(weights[at:], audible, since, int(heard[-1]) + 1)
    return edges[0], edges[1]


def _anchors(
    text: str, weights: _Numbers, pauses: Sequence[tuple[int, int]], audible: NDArray[np.bool_]
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Where the text has a mark or a space and the sound a pause, in order; marks choose first."""
    said = np.concatenate([[0.0], np.cumsum(weights)]) / weights.sum() * audible.sum()
    spoken = np.concatenate([[0.0], np.cumsum(audible)])
    taken: dict[tuple[int, int], int] = {}
    for pattern, reach in ((_MARK, _REACH * spoken[-1]), (_SPACE, _SPACE_REACH_MS / _HOP_MS)):
        for gap in (match.span() for match in pattern.finditer(text)):
            low = max((nth + 1 for other, nth in taken.items() if other[0] < gap[1]), default=0)
            high = min((nth for other, nth in taken.items() if other[0] >= gap[1]), default=None)
            expected = said[gap[0]]
            off = [abs(spoken[start] - expected) for start, _ in pauses[low:high]]
            inside = any(other[0] <= gap[0] < other[1] for other in taken)
            if off and min(off) <= reach and not inside and 0 < expected < said[-1]:
                taken[gap] = low + off.index(min(off))
    return ((gap, pauses[nth]) for gap, nth in sorted(taken.items()))


def _shared(weights: _Numbers, audible: NDArray[np.bool_], start: int, end: int) -> _Numbers:
    """The audible hops of a stretch shared out among its characters: ``[2, n]`` edges."""
    shares = weights if weights.any() else np.ones(len(weights))
    said = np.concatenate([[0.0], np.cumsum(shares)])
    spoken = np.concatenate([[0.0], np.cumsum(audible[start:end])])
    at = said / max(said[-1], 1.0) * spoken[-1]
    edges = np.interp(at, spoken, np.arange(start, end + 1))
    return np.stack([edges[:-1], edges[1:]])
