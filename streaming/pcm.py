"""Float samples into frames of s16le PCM, at the very end of the way."""

from __future__ import annotations

import numpy as np

from streaming.speech import Samples

FRAME_MS = 40
"""Duration of a frame: short enough to pace and cancel by, long enough to keep messages few."""


def to_s16le(samples: Samples) -> bytes:
    """Round and clip to 16 bits, little endian; no dither."""
    scaled = np.rint(np.asarray(samples, dtype=np.float32) * np.float32(32767.0))
    pcm: bytes = np.clip(scaled, -32768, 32767).astype("<i2").tobytes()
    return pcm


class PcmFramer:
    """Cuts float samples into frames of a fixed duration, carrying the rest to the next call."""

    def __init__(self, *, sample_rate_hz: int, frame_ms: int = FRAME_MS) -> None:
        self._frame_bytes = 2 * max(1, sample_rate_hz * frame_ms // 1000)
        self._rest = b""

    def push(self, samples: Samples) -> list[bytes]:
        """Whole frames that are now complete."""
        pcm = self._rest + to_s16le(samples)
        whole = len(pcm) - len(pcm) % self._frame_bytes
        self._rest = pcm[whole:]
        return [pcm[at : at + self._frame_bytes] for at in range(0, whole, self._frame_bytes)]

    def flush(self) -> list[bytes]:
        """The rest as one short frame, or nothing."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []
