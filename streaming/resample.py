"""Sample rate conversion of a stream, equal to converting it whole."""

from __future__ import annotations

import numpy as np
import soxr

from streaming.speech import Samples


class StreamResampler:
    """Converts one stream of mono samples; feed it with ``push``, end it once with ``flush``.

    ``n`` samples in give exactly ``round(n * to_hz / from_hz)`` out (halves up), however they are
    cut. Equal rates pass through untouched.
    """

    def __init__(self, *, from_hz: int, to_hz: int) -> None:
        self._from_hz = from_hz
        self._to_hz = to_hz
        self._taken = 0
        self._given = 0
        self._stream = None
        if from_hz != to_hz:
            self._stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")

    def push(self, samples: Samples) -> Samples:
        """What is ready after these samples; soxr keeps some milliseconds back."""
        if self._stream is None:
            return samples
        self._taken += len(samples)
        return self._give(self._stream.resample_chunk(samples))

    def flush(self) -> Samples:
        """What is left; brings the total to its exact length."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        last = self._give(self._stream.resample_chunk(np.zeros(0, np.float32), last=True))
        missing = self._due() - self._given
        self._given += missing
        return np.concatenate([last, np.zeros(missing, np.float32)])

    def _due(self) -> int:
        return (2 * self._taken * self._to_hz + self._from_hz) // (2 * self._from_hz)

    def _give(self, ready: Samples) -> Samples:
        ready = ready[: self._due() - self._given]
        self._given += len(ready)
        return ready
