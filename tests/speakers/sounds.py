"""Recordings for the tests, made in memory."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import soundfile


@cache
def noise(
    seconds: float,
    *,
    rate_hz: int = 16_000,
    channels: int = 1,
    container: str = "WAV",
    subtype: str | None = None,
    seed: int = 0,
) -> bytes:
    """Quiet noise as the bytes of a file; another ``seed`` is another person."""
    shape = (round(seconds * rate_hz), channels)
    samples = 0.1 * np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return encode(samples, rate_hz=rate_hz, container=container, subtype=subtype)


def encode(
    samples: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    *,
    rate_hz: int = 16_000,
    container: str = "WAV",
    subtype: str | None = None,
) -> bytes:
    """The samples ``[n, channels]`` as the bytes of a file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=container, subtype=subtype)
    return file.getvalue()
