"""Joins of chunks: trimmed edges, fades, gaps and crossfades, so that nothing clicks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streaming.pieces import Cut, cut_after
from streaming.speech import Samples

FADE_MS = 5.0
"""Length of the fade at an edge: a click needs less, a plosive is longer."""

LEAD_MS = 50.0
TAIL_MS = 100.0
"""Silence that stays before the first and after the last audible sample of a chunk."""

PAUSE_MS = 1000.0
"""Longest silence inside a chunk; it is held back to learn whether it is the end."""

AUDIBLE = 10 ** (-50 / 20)
"""Amplitude below which a sample counts as silence (-50 dB of full scale)."""

_EMPTY = np.zeros(0, np.float32)


def gap_after_ms(text: str, gap_ms: float) -> float:
    """Silence to add after a chunk: ``gap_ms`` after a sentence, half after a clause, else none."""
    cut = cut_after(text, "")
    return gap_ms if cut is Cut.SENTENCE else gap_ms / 2 if cut is Cut.CLAUSE else 0.0


class SeamBlender:
    """Makes one stream of the chunks of a context: ``begin``, ``push`` any number, ``end``.

    Each edge is faded, silence beyond ``LEAD_MS``, ``TAIL_MS`` and ``PAUSE_MS`` is trimmed. The gap
    comes out with the chunk before it, the overlap with the later one.
    """

    def __init__(self, *, sample_rate_hz: int, overlap_ms: float = 10.0) -> None:
        self._rate_hz = sample_rate_hz
        self._lead = self._samples(LEAD_MS)
        self._tail = self._samples(TAIL_MS)
        self._pause = self._samples(PAUSE_MS)
        self._fade = self._rise(FADE_MS)
        self._cross = self._rise(overlap_ms)
        self._edge = max(len(self._fade), len(self._cross))
        self._overlap = _EMPTY
        self._held = _EMPTY
        self._heard = False
        self._trimmed = 0
        self._restart()

    @property
    def trimmed_ms(self) -> float:
        """Silence taken from the chunk that began last."""
        return self._trimmed * 1000 / self._rate_hz

    def begin(self, *, pause_ms: float = 0.0) -> Samples:
        """A new chunk; gives the silence that precedes it."""
        before = _EMPTY
        if pause_ms > 0:
            before = np.concatenate([self._overlap, self._silence(pause_ms)])
            self._overlap = _EMPTY
        self._restart()
        return before

    def push(self, samples: Samples) -> Samples:
        """What can go out now; some milliseconds and any silence stay back."""
        held = np.concatenate([self._held, samples])
        audible = np.flatnonzero(np.abs(held) > AUDIBLE)
        if not self._heard:
            start = max(0, (int(audible[0]) if len(audible) else len(held)) - self._lead)
            self._trimmed += start
            self._heard = bool(len(audible))
            held, audible = held[start:], audible - start
        ready = 0
        if self._heard:
            held = self._without_long_pauses(held, audible)
            ready = max(0, min(len(held), self._quiet_from + self._tail) - self._edge)
        self._held = held[ready:]
        self._quiet_from -= ready
        return self._shape_head(held[:ready])

    def end(self, *, gap_ms: float = 0.0, overlap: bool = False) -> Samples:
        """The rest of the chunk and the gap; with ``overlap`` its last samples wait for the next.

        Ask for ``overlap`` only when another chunk is sure to come; no gap is added then.
        """
        keep = max(0, min(len(self._held), self._quiet_from + self._tail))
        if not self._heard:
            keep = len(self._held)
        self._trimmed += len(self._held) - keep
        last = self._shape_head(self._held[:keep].copy())
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
        self._heard = False
        self._quiet_from = 0
        self._trimmed = 0
        self._shaped = 0

    def _without_long_pauses(self, held: Samples, audible: NDArray[np.intp]) -> Samples:
        """Cut silences down in their middle, so that what borders on them stays."""
        starts = np.concatenate([[self._quiet_from], audible + 1])
        excess = np.append(audible, len(held)) - starts - self._pause
        keep = np.ones(len(held), bool)
        for at in np.flatnonzero(excess > 0):
            start = int(starts[at]) + self._pause - self._lead
            keep[start : start + int(excess[at])] = False
        self._trimmed += int(np.count_nonzero(~keep))
        self._quiet_from = int(starts[-1] - excess[:-1].clip(min=0).sum())
        return held[keep]

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
