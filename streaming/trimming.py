"""Silence taken from a chunk, before anything changes its speed or rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streaming.speech import Samples

LEAD_MS = 50.0
TAIL_MS = 100.0
"""Silence that stays before the first and after the last audible sample of a chunk."""

PAUSE_MS = 1000.0
"""Longest silence inside a chunk; it is held back to learn whether it is the end."""

AUDIBLE = 10 ** (-50 / 20)
"""Amplitude below which a sample counts as silence (-50 dB of full scale)."""


class Trimmer:
    """One chunk without silence beyond ``LEAD_MS``, ``TAIL_MS`` and ``PAUSE_MS``.

    ``push`` any number, ``end`` once.
    """

    def __init__(self, *, sample_rate_hz: int) -> None:
        self._rate_hz = sample_rate_hz
        self._lead = round(LEAD_MS * sample_rate_hz / 1000)
        self._tail = round(TAIL_MS * sample_rate_hz / 1000)
        self._pause = round(PAUSE_MS * sample_rate_hz / 1000)
        self._held = np.zeros(0, np.float32)
        self._heard = False
        self._quiet_from = 0
        self._trimmed = 0

    @property
    def trimmed_ms(self) -> float:
        """Silence taken so far."""
        return self._trimmed * 1000 / self._rate_hz

    def push(self, samples: Samples) -> Samples:
        """What is sure to stay; silence that may be too long is held back."""
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
            ready = self._within_tail(held)
        self._held = held[ready:]
        self._quiet_from -= ready
        return held[:ready]

    def end(self) -> Samples:
        """The rest of the chunk."""
        keep = self._within_tail(self._held) if self._heard else len(self._held)
        self._trimmed += len(self._held) - keep
        return self._held[:keep]

    def _within_tail(self, held: Samples) -> int:
        return max(0, min(len(held), self._quiet_from + self._tail))

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
