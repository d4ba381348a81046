"""Joins of chunks: fades, gaps and crossfades, so that nothing clicks."""

from __future__ import annotations

import numpy as np

from streaming.pieces import Cut, cut_after
from streaming.speech import Samples

FADE_MS = 5.0
"""Length of the fade at an edge: a click needs less, a plosive is longer."""

_EMPTY = np.zeros(0, np.float32)


def gap_after_ms(text: str, gap_ms: float) -> float:
    """Silence to add after a chunk: ``gap_ms`` after a sentence, half after a clause, else none."""
    cut = cut_after(text, "")
    return gap_ms if cut is Cut.SENTENCE else gap_ms / 2 if cut is Cut.CLAUSE else 0.0


class SeamBlender:
    """Makes one stream of the chunks of a context: ``begin``, ``push`` any number, ``end``.

    Each edge is faded. The gap comes out with the chunk before it, the overlap with the later one.
    """

    def __init__(self, *, sample_rate_hz: int, overlap_ms: float = 10.0) -> None:
        self._rate_hz = sample_rate_hz
        self._fade = self._rise(FADE_MS)
        self._cross = self._rise(overlap_ms)
        self._edge = max(len(self._fade), len(self._cross))
        self._overlap = self._held = _EMPTY
        self._restart()

    def begin(self, *, pause_ms: float = 0.0) -> Samples:
        """A new chunk; gives the silence that precedes it."""
        before = _EMPTY
        if pause_ms > 0:
            before = np.concatenate([self._overlap, self._silence(pause_ms)])
            self._overlap = _EMPTY
        self._restart()
        return before

    def push(self, samples: Samples) -> Samples:
        """What can go out now; the last milliseconds stay back, as they may be the end."""
        held = np.concatenate([self._held, samples])
        ready = max(0, len(held) - self._edge)
        self._held = held[ready:]
        return self._shape_head(held[:ready])

    def end(self, *, gap_ms: float = 0.0, overlap: bool = False) -> Samples:
        """The rest of the chunk and the gap; with ``overlap`` its last samples wait for the next.

        Ask for ``overlap`` only when another chunk is sure to come; no gap is added then.
        """
        last = self._shape_head(self._held.copy())
        unmixed = self._mix[self._shaped :]
        overlap = overlap and len(last) >= len(self._cross) and not len(unmixed)
        fall = (self._cross if overlap else self._fade)[::-1]
        if n := min(len(fall), len(last)):
            last[-n:] *= fall[-n:]
        if overlap:
            split = len(last) - len(fall)
            self._overlap = last[split:]
            return last[:split]
        return np.concatenate([last, unmixed, self._silence(gap_ms)])

    def _restart(self) -> None:
        self._mix, self._overlap = self._overlap, _EMPTY
        self._rise_in = self._cross if len(self._mix) else self._fade
        self._held = _EMPTY
        self._shaped = 0

    def _shape_head(self, samples: Samples) -> Samples:
        """Fade in and mix with what the chunk before left, by position in the chunk."""
        at = self._shaped
        self._shaped += len(samples)
        rise = self._rise_in[at : at + len(samples)]
        if len(rise):
            samples = samples.copy()
            samples[: len(rise)] *= rise
            mix = self._mix[at : at + len(samples)]
            samples[: len(mix)] += mix
        return samples

    def _silence(self, duration_ms: float) -> Samples:
        return np.zeros(self._samples(duration_ms), np.float32)

    def _samples(self, duration_ms: float) -> int:
        return round(max(0.0, duration_ms) * self._rate_hz / 1000)

    def _rise(self, duration_ms: float) -> Samples:
        """Half a cosine from just above 0 to just below 1; with its reverse it adds up to 1."""
        n = self._samples(duration_ms)
        at = (np.arange(n, dtype=np.float32) + np.float32(0.5)) / np.float32(max(1, n))
        return np.asarray(0.5 - 0.5 * np.cos(np.pi * at), dtype=np.float32)
