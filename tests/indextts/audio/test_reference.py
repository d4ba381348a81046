from __future__ import annotations

import numpy as np
import pytest

from indextts.audio.reference import read_reference
from indextts.audio.resample import load_resample
from streaming.errors import BadRecording
from streaming.speech import Recording


def recording(seconds: float, rate_hz: int = 24000, seed: int = 0) -> Recording:
    noise = np.random.default_rng(seed).standard_normal(int(seconds * rate_hz))
    samples = (0.1 * noise).astype(np.float32)
    return Recording(samples=samples, sample_rate_hz=rate_hz, sha256="0" * 64)


def of(samples: np.ndarray) -> Recording:
    return Recording(samples=samples, sample_rate_hz=16000, sha256="0" * 64)


def test_both_branches_come_from_one_signal() -> None:
    one = recording(1.5)
    reference = read_reference([one], 22050)
    assert reference.waveform.shape == (1, 33075)
    assert reference.waveform_16k.shape == (1, 24000)
    assert np.array_equal(reference.waveform[0].numpy(), load_resample(one.samples, 24000, 22050))


def test_recordings_of_one_voice_are_joined_in_order() -> None:
    parts = [recording(0.6, 8000, 1), recording(0.7, 44100, 2)]
    joined = read_reference(parts, 22050).waveform[0]
    assert joined.shape == (13230 + 15435,)
    alone = load_resample(parts[1].samples, 44100, 22050)
    assert np.array_equal(joined[13230:].numpy(), alone)


def test_the_first_fifteen_seconds_are_kept() -> None:
    long = recording(17.0, 22050)
    waveform = read_reference([long], 22050).waveform[0]
    assert waveform.shape == (15 * 22050,)
    assert np.array_equal(waveform.numpy(), long.samples[: 15 * 22050])


@pytest.mark.parametrize(
    ("seconds", "shares"),
    [
        ([15.0, 15.0], [7.5, 7.5]),
        ([2.0, 15.0, 15.0], [2.0, 6.5, 6.5]),
        ([15.0, 1.0, 4.0], [10.0, 1.0, 4.0]),
        ([5.0, 5.0, 5.0], [5.0, 5.0, 5.0]),
        ([15.0] * 8, [1.875] * 8),
    ],
)
def test_every_recording_is_heard(seconds: list[float], shares: list[float]) -> None:
    recordings = [recording(length, 8000, seed) for seed, length in enumerate(seconds)]
    waveform = read_reference(recordings, 8000).waveform[0].numpy()
    kept = [one.samples[: int(share * 8000)] for one, share in zip(recordings, shares, strict=True)]
    assert np.array_equal(waveform, np.concatenate(kept))


def test_the_cut_leaves_no_trace_of_the_resampler() -> None:
    long = recording(17.0, 48000)
    waveform = read_reference([long], 22050).waveform[0].numpy()
    whole = load_resample(long.samples, 48000, 22050)
    assert np.abs(waveform - whole[: waveform.size]).max() < 1e-6


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(0, np.float32), "silent"),
        (np.full(1, 0.5, np.float32), "shorter"),
        (np.full(15999, 0.5, np.float32), "shorter"),
        (np.zeros(32000, np.float32), "silent"),
        (np.full(32000, 1e-6, np.float32), "silent"),
        (np.full(32000, np.nan, np.float32), "not numbers"),
        (np.full(32000, -np.inf, np.float32), "not numbers"),
        (np.full(32000, 1e30, np.float32), "louder"),
        (np.full((2, 32000), 0.5, np.float32), "mono"),
        (np.full(32000, 0.5, np.float64), "mono"),
    ],
)
def test_what_is_not_speech_is_refused(samples: np.ndarray, reason: str) -> None:
    with pytest.raises(BadRecording, match=reason):
        read_reference([of(samples)], 22050)


def test_one_bad_value_is_enough() -> None:
    samples = recording(2.0).samples.copy()
    samples[777] = np.nan
    with pytest.raises(BadRecording, match="not numbers"):
        read_reference([of(samples)], 22050)


def test_no_recording_is_no_voice() -> None:
    with pytest.raises(BadRecording, match="at least one"):
        read_reference([], 22050)
