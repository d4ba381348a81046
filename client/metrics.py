"""What a listener notices: how soon, how fast, how smooth."""

from __future__ import annotations

from dataclasses import dataclass

START_AFTER_S = 0.2
"""How long the imagined player waits after the first byte before it starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """One piece of speech, measured at the listener.

    ``first_audio_ms`` counts from the first text sent; ``rtf`` is the time from there to the last
    sample, divided by the length of the audio. The gaps are the silences that a player starting
    200 ms after the first byte would hear.
    """

    first_audio_ms: float | None
    audio_s: float
    total_s: float
    rtf: float | None
    gaps: int
    longest_gap_ms: float


class Meter:
    """Takes the arrival of every piece of audio, gives ``Metrics``; times in seconds."""

    def __init__(self) -> None:
        self._asked_s: float | None = None
        self._first_s: float | None = None
        self._last_s: float | None = None
        self._dry_at_s = 0.0
        self._audio_s = 0.0
        self._gaps_s: list[float] = []

    def ask(self, now_s: float) -> None:
        """Text was sent; only the first one counts."""
        if self._asked_s is None:
            self._asked_s = now_s

    def hear(self, now_s: float, samples: int, sample_rate_hz: int) -> None:
        """Audio has arrived."""
        if self._first_s is None:
            self._first_s, self._dry_at_s = now_s, now_s + START_AFTER_S
        elif now_s > self._dry_at_s:
            self._gaps_s.append(now_s - self._dry_at_s)
            self._dry_at_s = now_s
        self._last_s = now_s
        self._audio_s += samples / sample_rate_hz
        self._dry_at_s += samples / sample_rate_hz

    def metrics(self) -> Metrics:
        """The sums so far."""
        if self._asked_s is None or self._first_s is None or self._last_s is None:
            return Metrics(
                first_audio_ms=None, audio_s=0.0, total_s=0.0, rtf=None, gaps=0, longest_gap_ms=0.0
            )
        total_s = self._last_s - self._asked_s
        return Metrics(
            first_audio_ms=(self._first_s - self._asked_s) * 1000,
            audio_s=self._audio_s,
            total_s=total_s,
            rtf=total_s / self._audio_s if self._audio_s else None,
            gaps=len(self._gaps_s),
            longest_gap_ms=max(self._gaps_s, default=0.0) * 1000,
        )
