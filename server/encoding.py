"""PCM into what a listener asked for, piece by piece."""

from __future__ import annotations

import io
from typing import Any, Protocol

import numpy as np

from streaming.errors import UnsupportedFormat
from streaming.wav import wav_header

FORMATS = ("mp3", "wav", "pcm")
"""What the HTTP door offers."""

_MP3_BITS_PER_S = 96_000


class Encoder(Protocol):
    """One stream's encoder; ``encode`` and ``finish`` give bytes that belong one after another."""

    def encode(self, pcm: bytes) -> bytes:
        """Take mono s16le PCM."""
        ...

    def finish(self) -> bytes:
        """Give what is left."""
        ...


class PcmEncoder:
    """Raw s16le, as it comes."""

    def encode(self, pcm: bytes) -> bytes:
        """The same bytes."""
        return pcm

    def finish(self) -> bytes:
        """Nothing."""
        return b""


class WavEncoder:
    """A WAV whose sizes are unknown (0xFFFFFFFF), for streams."""

    def __init__(self, sample_rate_hz: int) -> None:
        self._header = wav_header(sample_rate_hz)

    def encode(self, pcm: bytes) -> bytes:
        """The header before the first samples."""
        header, self._header = self._header, b""
        return header + pcm

    def finish(self) -> bytes:
        """The header when there were no samples."""
        return self.encode(b"")


class _Tray(io.RawIOBase):
    """Where PyAV writes; emptied after every piece. It cannot seek, so no header is patched."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


class Mp3Encoder:
    """MP3 through PyAV, whose encoder state belongs to this stream alone."""

    def __init__(self, sample_rate_hz: int) -> None:
        import av

        self._frame = av.AudioFrame
        self._rate_hz = sample_rate_hz
        self._tray = _Tray()
        self._container = av.open(
            self._tray, "w", format="mp3", options={"write_xing": "0", "id3v2_version": "0"}
        )
        self._stream = self._container.add_stream("mp3", rate=sample_rate_hz, layout="mono")
        self._stream.bit_rate = _MP3_BITS_PER_S
        self._samples = 0

    def encode(self, pcm: bytes) -> bytes:
        """Whole MP3 frames, a few hundred samples late."""
        samples = np.frombuffer(pcm, dtype="<i2").reshape(1, -1)
        if samples.size:
            frame = self._frame.from_ndarray(samples, format="s16p", layout="mono")
            frame.sample_rate = self._rate_hz
            frame.pts = self._samples
            self._samples += samples.size
            self._container.mux(self._stream.encode(frame))
        return self._tray.take()

    def finish(self) -> bytes:
        """The frames still inside the encoder."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._tray.take()


def make_encoder(audio_format: str, sample_rate_hz: int) -> Encoder:
    """The encoder of a format; the first MP3 loads PyAV, so call it off the event loop.

    Raises ``UnsupportedFormat``.
    """
    match audio_format:
        case "pcm":
            return PcmEncoder()
        case "wav":
            return WavEncoder(sample_rate_hz)
        case "mp3":
            return Mp3Encoder(sample_rate_hz)
    raise UnsupportedFormat(f"{audio_format} is not offered", param="response_format")


def content_type(audio_format: str, sample_rate_hz: int) -> str:
    """The media type of a format."""
    if audio_format == "pcm":
        return f"audio/pcm;rate={sample_rate_hz}"
    return {"wav": "audio/wav", "mp3": "audio/mpeg"}[audio_format]
