"""Encoders give what a decoder takes, whatever the pieces."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from server.encoding import content_type, make_encoder
from streaming.errors import UnsupportedFormat
from streaming.fields import SAMPLE_RATES_HZ
from streaming.wav import wav_header


def tone(rate_hz: int) -> bytes:
    at = np.arange(rate_hz // 2)
    wave = 0.5 * np.sin(2 * np.pi * 440 * at / rate_hz)
    return bytes((wave * 32767).astype("<i2").tobytes())


def encoded(audio_format: str, rate_hz: int, piece_bytes: int) -> bytes:
    encoder = make_encoder(audio_format, rate_hz)
    pcm = tone(rate_hz)
    pieces = [encoder.encode(pcm[at : at + piece_bytes]) for at in range(0, len(pcm), piece_bytes)]
    return b"".join([*pieces, encoder.finish()])


@pytest.mark.parametrize("rate_hz", SAMPLE_RATES_HZ)
def test_mp3_holds_the_tone(rate_hz: int) -> None:
    data = encoded("mp3", rate_hz, 2_000)
    samples, got_hz = soundfile.read(io.BytesIO(data))
    assert got_hz == rate_hz
    assert 0.45 < len(samples) / rate_hz < 0.7
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert np.argmax(spectrum) * rate_hz / len(samples) == pytest.approx(440, abs=8)
    assert encoded("mp3", rate_hz, 10**6) == data


def test_the_first_mp3_bytes_come_early() -> None:
    encoder = make_encoder("mp3", 24_000)
    assert any(encoder.encode(bytes(4_800)) for _ in range(2))


def test_wav_stream_and_header() -> None:
    data = encoded("wav", 22_050, 999)
    assert data == wav_header(22_050) + tone(22_050)
    whole = wav_header(22_050, len(tone(22_050))) + tone(22_050)
    samples, rate_hz = soundfile.read(io.BytesIO(whole), dtype="int16")
    assert (rate_hz, samples.tobytes()) == (22_050, tone(22_050))
    assert make_encoder("wav", 8_000).finish() == wav_header(8_000)


def test_pcm_is_itself_and_the_rest_is_refused() -> None:
    assert encoded("pcm", 8_000, 100) == tone(8_000)
    assert content_type("pcm", 8_000) == "audio/pcm;rate=8000"
    with pytest.raises(UnsupportedFormat):
        make_encoder("opus", 8_000)
