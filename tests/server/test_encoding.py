"""Encoders give what a decoder takes, whatever the pieces."""

from __future__ import annotations

import gc
import io

import numpy as np
import pytest
import soundfile

from server.encoding import FORMATS, HEAD_BYTES, content_type, make_encoder, sealed
from streaming.errors import UnsupportedFormat
from streaming.fields import SAMPLE_RATES_HZ
from streaming.wav import wav_header
from tests.server.sounds import decode, pitch_hz

ALL = (*FORMATS, "ulaw", "alaw")
EXACT = ("pcm", "wav", "flac", "opus", "ulaw", "alaw")
"""Formats that say where their sound ends; mp3 and aac are padded to whole packets."""


def tone(rate_hz: int, duration_s: float = 1.0) -> bytes:
    at = np.arange(int(rate_hz * duration_s))
    wave = 0.5 * np.sin(2 * np.pi * 440 * at / rate_hz)
    return bytes((wave * 32767).astype("<i2").tobytes())


def encoded(
    audio_format: str, rate_hz: int, piece_bytes: int, bit_rate: int | None = None
) -> bytes:
    encoder = make_encoder(audio_format, rate_hz, bit_rate=bit_rate)
    pcm = tone(rate_hz)
    pieces = [encoder.encode(pcm[at : at + piece_bytes]) for at in range(0, len(pcm), piece_bytes)]
    return b"".join([*pieces, encoder.finish()])


@pytest.mark.parametrize("rate_hz", SAMPLE_RATES_HZ)
@pytest.mark.parametrize("audio_format", ALL)
def test_every_format_and_rate_holds_the_tone(audio_format: str, rate_hz: int) -> None:
    data = encoded(audio_format, rate_hz, 2 * (rate_hz // 25))
    samples, got_hz = decode(data, audio_format, rate_hz)
    assert got_hz == (48_000 if audio_format == "opus" else rate_hz), "opus decodes at 48 kHz"
    assert pitch_hz(samples, got_hz) == pytest.approx(440, rel=0.001)
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    assert np.std(middle) == pytest.approx(0.5 / 2**0.5, rel=0.06), "LAME turns down by 5 %"
    late_s = 0.0 if audio_format in EXACT else 2_300 / rate_hz
    assert 1.0 - 1e-4 <= len(samples) / got_hz <= 1.0 + 1e-4 + late_s


@pytest.mark.parametrize("audio_format", ALL)
def test_the_first_bytes_come_early(audio_format: str) -> None:
    encoder = make_encoder(audio_format, 24_000)
    piece = bytes(2 * 24_000 // 50)
    assert any(encoder.encode(piece) for _ in range(6)), "120 ms of sound are enough"


@pytest.mark.parametrize("audio_format", ALL)
def test_how_the_sound_is_cut_changes_nothing(audio_format: str) -> None:
    def heard(piece_bytes: int) -> bytes:
        data = encoded(audio_format, 22_050, piece_bytes)
        return decode(data, audio_format, 22_050)[0].tobytes()

    assert heard(998) == heard(20_000)


@pytest.mark.parametrize("audio_format", ALL)
def test_no_sound_is_no_failure(audio_format: str) -> None:
    encoder = make_encoder(audio_format, 24_000)
    assert encoder.encode(b"") in (b"", wav_header(24_000))
    assert isinstance(encoder.finish(), bytes)


def test_the_lossless_ones_lose_nothing() -> None:
    data = encoded("flac", 24_000, 1_000)
    samples, _ = decode(data, "flac", 24_000)
    assert np.rint(samples * 32_768).astype("<i2").tobytes() == tone(24_000)


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
def test_a_complete_file_tells_its_length(audio_format: str) -> None:
    data = encoded(audio_format, 24_000, 1_000)
    head = sealed(audio_format, data[:HEAD_BYTES], 24_000, 24_000)
    assert len(head) == HEAD_BYTES
    samples, _ = soundfile.read(io.BytesIO(head + data[HEAD_BYTES:]), dtype="int16")
    assert samples.tobytes() == tone(24_000)


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "aac"])
def test_a_bit_rate_is_kept(audio_format: str) -> None:
    small, large = (
        len(encoded(audio_format, 48_000, 4_000, bit_rate=bits)) for bits in (32_000, 128_000)
    )
    assert large > 2 * small


@pytest.mark.parametrize(("audio_format", "silence"), [("ulaw", 0xFF), ("alaw", 0xD5)])
def test_telephony_is_a_byte_a_sample(audio_format: str, silence: int) -> None:
    encoder = make_encoder(audio_format, 8_000)
    assert encoder.encode(bytes(320)) == bytes([silence]) * 160
    assert encoder.finish() == b""


def test_wav_stream_and_header() -> None:
    data = encoded("wav", 22_050, 998)
    assert data == wav_header(22_050) + tone(22_050)
    whole = wav_header(22_050, len(tone(22_050))) + tone(22_050)
    samples, rate_hz = soundfile.read(io.BytesIO(whole), dtype="int16")
    assert (rate_hz, samples.tobytes()) == (22_050, tone(22_050))
    assert make_encoder("wav", 8_000).finish() == wav_header(8_000)


def test_pcm_is_itself_and_what_is_unknown_is_refused() -> None:
    assert encoded("pcm", 8_000, 100) == tone(8_000)
    with pytest.raises(UnsupportedFormat):
        make_encoder("wma", 8_000)


def test_media_types() -> None:
    assert {name: content_type(name, 8_000) for name in ALL} == {
        "mp3": "audio/mpeg",
        "opus": "audio/ogg;codecs=opus",
        "aac": "audio/aac",
        "flac": "audio/flac",
        "wav": "audio/wav",
        "pcm": "audio/pcm;rate=8000",
        "ulaw": "audio/PCMU;rate=8000",
        "alaw": "audio/PCMA;rate=8000",
    }


@pytest.mark.parametrize("audio_format", ["mp3", "opus", "aac", "flac", "ulaw"])
def test_an_encoder_that_is_left_leaves_nothing(audio_format: str) -> None:
    make_encoder(audio_format, 24_000)
    gc.collect()
    for _ in range(10):
        make_encoder(audio_format, 24_000).encode(bytes(9_600))
    assert gc.collect() < 10, "a FLAC encoder holds seven megabytes"
