"""PCM into what a listener asked for, piece by piece."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from streaming import tempo
from streaming.errors import UnsupportedFormat
from streaming.pcm import to_s16le
from streaming.resample import StreamResampler
from streaming.wav import HEADER_BYTES, wav_header

FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
"""What OpenAI's route offers; ``ulaw`` and ``alaw`` (G.711) are for telephony's doors."""

OPUS_RATES_HZ = (8_000, 12_000, 16_000, 24_000, 48_000)
"""Rates an Opus stream can have (RFC 6716, section 2); others are converted to the next higher."""

HEAD_BYTES = HEADER_BYTES
"""How much of a file's beginning ``sealed`` needs to see."""

_FLAC_COUNT = slice(18, 26)


class Encoder(Protocol):
    """One stream's encoder; ``encode`` and ``finish`` give bytes that belong one after another."""

    def encode(self, pcm: bytes) -> bytes:
        """Take mono s16le PCM, whole samples."""
        ...

    def finish(self) -> bytes:
        """Give what is left."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Codec:
    """A format in FFmpeg's words; the options keep headers and pages small, so that bytes flow."""

    container: str
    codec: str
    media_type: str
    bit_rate: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    codec_options: Mapping[str, str] = field(default_factory=dict)


_CODECS: Mapping[str, _Codec] = {
    "mp3": _Codec(
        container="mp3",
        codec="libmp3lame",
        media_type="audio/mpeg",
        bit_rate=96_000,
        options={"write_xing": "0", "id3v2_version": "0"},
    ),
    "opus": _Codec(
        container="ogg",
        codec="libopus",
        media_type="audio/ogg;codecs=opus",
        bit_rate=48_000,
        options={"page_duration": "20000"},
    ),
    "aac": _Codec(container="adts", codec="aac", media_type="audio/aac", bit_rate=64_000),
    "flac": _Codec(
        container="flac",
        codec="flac",
        media_type="audio/flac",
        options={"metadata_header_padding": "0"},
        codec_options={"compression_level": "2"},
    ),
    "ulaw": _Codec(container="mulaw", codec="pcm_mulaw", media_type="audio/PCMU;rate={rate}"),
    "alaw": _Codec(container="alaw", codec="pcm_alaw", media_type="audio/PCMA;rate={rate}"),
}


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


class CodecEncoder:
    """A codec of FFmpeg through PyAV, whose state belongs to this stream alone."""

    def __init__(self, codec: _Codec, sample_rate_hz: int, bit_rate: int | None) -> None:
        import av

        self._frame = av.AudioFrame
        self._rate_hz = sample_rate_hz
        self._tray = _Tray()
        self._container = av.open(
            self._tray, "w", format=codec.container, options=dict(codec.options)
        )
        self._stream = self._container.add_stream(
            codec.codec, rate=sample_rate_hz, layout="mono", options=dict(codec.codec_options)
        )
        if bits_per_s := bit_rate or codec.bit_rate:
            self._stream.bit_rate = bits_per_s
        self._samples = 0

    def __del__(self) -> None:
        """Free the codec of a stream that was left; else its megabytes wait for the collector."""
        if hasattr(self, "_container"):
            self._container.close()

    def encode(self, pcm: bytes) -> bytes:
        """Whole packets of the codec, tens of milliseconds late."""
        samples = np.frombuffer(pcm, dtype="<i2").reshape(1, -1)
        if samples.size:
            frame = self._frame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate = self._rate_hz
            frame.pts = self._samples
            self._samples += samples.size
            self._container.mux(self._stream.encode(frame))
        return self._tray.take()

    def finish(self) -> bytes:
        """The packets still inside the encoder."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._tray.take()


class ResamplingEncoder:
    """Converts the rate first, for a codec that does not have every rate."""

    def __init__(self, encoder: Encoder, *, from_hz: int, to_hz: int) -> None:
        self._encoder = encoder
        self._resampler = StreamResampler(from_hz=from_hz, to_hz=to_hz)

    def encode(self, pcm: bytes) -> bytes:
        """What the codec gives for what is converted so far."""
        samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32) / np.float32(32767)
        return self._encoder.encode(to_s16le(self._resampler.push(samples)))

    def finish(self) -> bytes:
        """The rest of both."""
        rest = self._encoder.encode(to_s16le(self._resampler.flush()))
        return rest + self._encoder.finish()


def make_encoder(audio_format: str, sample_rate_hz: int, *, bit_rate: int | None = None) -> Encoder:
    """The encoder of a format for PCM of that rate; ``bit_rate`` counts for mp3, opus and aac.

    The first one loads PyAV (see ``load``), so call it off the event loop. Raises
    ``UnsupportedFormat``.
    """
    if audio_format == "pcm":
        return PcmEncoder()
    if audio_format == "wav":
        return WavEncoder(sample_rate_hz)
    codec = _CODECS.get(audio_format)
    if codec is None:
        raise UnsupportedFormat(f"{audio_format} is not offered", param="response_format")
    if audio_format != "opus" or sample_rate_hz in OPUS_RATES_HZ:
        return CodecEncoder(codec, sample_rate_hz, bit_rate)
    coded_hz = next((rate for rate in OPUS_RATES_HZ if rate > sample_rate_hz), OPUS_RATES_HZ[-1])
    encoder = CodecEncoder(codec, coded_hz, bit_rate)
    return ResamplingEncoder(encoder, from_hz=sample_rate_hz, to_hz=coded_hz)


def load() -> None:
    """Load PyAV, its codecs and the tempo filter; blocking, so that no first request waits."""
    for audio_format in _CODECS:
        make_encoder(audio_format, OPUS_RATES_HZ[-1])
    tempo.load()


def content_type(audio_format: str, sample_rate_hz: int) -> str:
    """The media type of a format."""
    if audio_format == "pcm":
        return f"audio/pcm;rate={sample_rate_hz}"
    if audio_format == "wav":
        return "audio/wav"
    return _CODECS[audio_format].media_type.format(rate=sample_rate_hz)


def sealed(audio_format: str, head: bytes, sample_rate_hz: int, samples: int) -> bytes:
    """The first ``HEAD_BYTES`` of a file that is complete, with its true length."""
    if audio_format == "wav":
        return wav_header(sample_rate_hz, 2 * samples)
    if audio_format == "flac" and len(head) >= _FLAC_COUNT.stop:
        # The last 36 bits of STREAMINFO's 64 about rate and depth count samples (RFC 9639, 8.2).
        count = int.from_bytes(head[_FLAC_COUNT]) | min(samples, 2**36 - 1)
        return head[: _FLAC_COUNT.start] + count.to_bytes(8) + head[_FLAC_COUNT.stop :]
    return head
