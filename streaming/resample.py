"""Sample rate conversion of a stream, equal to converting it whole."""

from __future__ import annotations

import numpy as np
import soxr

from streaming.speech import Samples


class StreamResampler:
    """Converts one stream of mono samples; feed it with ``push``, end it once with ``flush``.

    ``n`` samples in give exactly ``round(n * to_hz / from_hz)`` out (halves up), however they are
    cut: soxr keeps that count, and a test holds it to it. Equal rates pass through untouched.
    """

    def __init__(self, *, from_hz: int, to_hz: int) -> None:
        self._stream = None
        if from_hz != to_hz:
            self._stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")

    def push(self, samples: Samples) -> Samples:
        """What is ready after these samples; soxr keeps about 25 ms back."""
        if self._stream is None:
            return samples
        return np.asarray(self._stream.resample_chunk(samples), dtype=np.float32)

    def flush(self) -> Samples:
        """What is left."""
        nothing = np.zeros(0, np.float32)
        if self._stream is None:
            return nothing
        return np.asarray(self._stream.resample_chunk(nothing, last=True), dtype=np.float32)
