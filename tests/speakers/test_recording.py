"""The decoder of untrusted audio: what it takes, what it refuses, what it says."""

from __future__ import annotations

import hashlib
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from speakers.recording import LoadedRecording, RecordingLimits, load_recording
from streaming.errors import BadRecording
from tests.speakers.sounds import encode, noise


def refusal(source: Path | bytes) -> str:
    with pytest.raises(BadRecording) as caught:
        load_recording(source)
    return caught.value.message


@pytest.mark.parametrize("container", ["WAV", "FLAC", "MP3", "OGG"])
def test_each_container_gives_mono_float32_at_its_own_rate(container: str) -> None:
    data = noise(2.0, rate_hz=24_000, channels=2, container=container)
    loaded = load_recording(data)
    recording = loaded.recording
    assert loaded.warning is None
    assert recording.samples.dtype == np.float32
    assert recording.samples.shape == (48_000,)
    assert recording.sample_rate_hz == 24_000
    assert recording.sha256 == hashlib.sha256(data).hexdigest()


def test_mono_is_the_mean_of_the_channels(tmp_path: Path) -> None:
    left = np.full(16_000, 0.5, np.float32)
    path = tmp_path / "stereo.wav"
    path.write_bytes(encode(np.stack([left, left / 2], axis=1), subtype="FLOAT"))
    np.testing.assert_allclose(load_recording(path).recording.samples, 0.375)


def test_samples_beyond_full_scale_are_clipped() -> None:
    loud = encode(np.full((16_000, 1), 3.0, np.float32), subtype="FLOAT")
    assert load_recording(loud).recording.samples.max() == 1.0


@pytest.mark.parametrize(("seconds", "kept_s"), [(1.0, 1.0), (15.0, 15.0), (15.5, 15.0), (30, 15)])
def test_long_recordings_are_cut_with_a_warning(seconds: float, kept_s: float) -> None:
    loaded: LoadedRecording = load_recording(noise(seconds))
    assert len(loaded.recording.samples) == kept_s * 16_000
    if seconds > kept_s:
        assert loaded.warning == (
            f"the recording is {seconds:.1f} s long; only its first 15 s are used"
        )
    else:
        assert loaded.warning is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the recording is empty"),
        (b"This is not a sound.\n" * 500, "the recording is not wav, flac, mp3 or ogg audio"),
        (noise(0.2), "the recording is shorter than 1 s"),
        (noise(30.1), "the recording is longer than 30 s"),
        (noise(2, channels=40, rate_hz=8_000), "the recording has 40 channels; at most 8"),
        (noise(2, rate_hz=4_000), "the recording's rate is 4000 Hz"),
        (noise(2, rate_hz=200_000), "the recording's rate is 200000 Hz"),
        (noise(2, container="AIFF"), "the recording is not wav, flac, mp3 or ogg audio"),
        (b"\0" * 10_000_001, "the recording is bigger than 10 MB"),
    ],
    ids=["empty", "text", "short", "long", "channels", "slow", "fast", "aiff", "big"],
)
def test_refusals_name_the_reason(data: bytes, message: str) -> None:
    assert refusal(data).startswith(message)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(value: float) -> None:
    samples = np.zeros((32_000, 1), np.float32)
    samples[31_999] = value
    assert "not finite" in refusal(encode(samples, subtype="FLOAT"))


@pytest.mark.parametrize("container", ["FLAC", "MP3", "OGG", "WAV"])
@pytest.mark.parametrize("kept", [4, 60, 600])
def test_a_file_cut_to_its_head_is_refused(container: str, kept: int) -> None:
    assert refusal(noise(5, container=container)[:kept]).startswith("the recording is")


def test_a_flac_cut_in_the_middle_is_refused() -> None:
    data = noise(5, container="FLAC")
    assert refusal(data[: len(data) // 2]) == "the recording is not wav, flac, mp3 or ogg audio"


def test_an_mp3_cut_in_the_middle_gives_what_can_be_decoded() -> None:
    data = noise(5, container="MP3")
    assert 16_000 <= len(load_recording(data[: len(data) // 2]).recording.samples) < 5 * 16_000


def test_damaged_files_are_refused_or_decoded_but_never_crash() -> None:
    rng = np.random.default_rng(7)
    for container in ["WAV", "FLAC", "MP3", "OGG"]:
        for _ in range(20):
            data = bytearray(noise(1.5, rate_hz=8_000, container=container))
            for at in rng.integers(0, len(data), 30):
                data[at] ^= 1 << int(rng.integers(8))
            try:
                samples = load_recording(bytes(data)).recording.samples
            except BadRecording:
                continue
            assert np.isfinite(samples).all() and np.abs(samples).max() <= 1


def test_a_header_that_promises_hours_costs_no_memory() -> None:
    data = bytearray(noise(2))
    struct.pack_into("<I", data, 4, 0xFFFFFFFF)
    struct.pack_into("<I", data, data.index(b"data") + 4, 0xFFFFFFFF)
    assert len(load_recording(bytes(data)).recording.samples) == 2 * 16_000


def test_a_decompression_bomb_is_not_unpacked() -> None:
    minutes = encode(np.zeros((20 * 60 * 16_000, 1), np.float32), container="FLAC")
    assert len(minutes) < 1_000_000
    tracemalloc.start()
    try:
        assert refusal(minutes) == "the recording is longer than 30 s"
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_a_file_too_big_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "big.wav"
    with path.open("wb") as file:
        file.truncate(10_000_000_000)
    assert refusal(path) == "the recording is bigger than 10 MB"


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.wav"
    os.mkfifo(pipe)
    assert refusal(pipe) == "the recording is not a regular file"
    assert refusal(tmp_path) == "the recording is not a regular file"


def test_messages_name_no_path(tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("hello")
    for path in [text, tmp_path / "missing.wav", tmp_path / "nul\0.wav"]:
        message = refusal(path)
        assert str(tmp_path) not in message and path.name not in message


def test_limits_can_be_tightened() -> None:
    with pytest.raises(BadRecording, match="longer than 2 s"):
        load_recording(noise(2.5), limits=RecordingLimits(max_s=2, keep_s=2))
