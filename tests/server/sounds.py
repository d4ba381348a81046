"""What a listener would hear: audio of any format decoded, its pitch and its length."""

from __future__ import annotations

import io

import av
import numpy as np
from numpy.typing import NDArray

from streaming.speech import Samples

RAW = {"pcm": "s16le", "ulaw": "mulaw", "alaw": "alaw"}
"""Formats without a header, and FFmpeg's names for them."""


def decode(data: bytes, audio_format: str, rate_hz: int) -> tuple[Samples, int]:
    """The samples and their rate; ``rate_hz`` counts for formats that do not tell it."""
    demuxer = RAW.get(audio_format)
    options = {"sample_rate": str(rate_hz)} if demuxer else {}
    pieces: list[NDArray[np.float32]] = []
    with av.open(io.BytesIO(data), format=demuxer, options=options) as container:
        to_float = av.AudioResampler("flt", "mono")
        for frame in container.decode(audio=0):
            rate_hz = frame.sample_rate
            pieces += [piece.to_ndarray()[0] for piece in to_float.resample(frame)]
    return np.concatenate(pieces), rate_hz


def pitch_hz(samples: Samples, rate_hz: int) -> float:
    """The frequency of a sine, to 0.03 %: the peak of a zero-padded spectrum."""
    points = max(2**18, len(samples))
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), points))
    return float(np.argmax(spectrum)) * rate_hz / points
