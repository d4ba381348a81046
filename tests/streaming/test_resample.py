"""Converting a stream equals converting it whole."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.resample import StreamResampler
from streaming.speech import Samples

RATES = [(22_050, 24_000), (24_000, 22_050), (22_050, 8_000), (22_050, 48_000), (24_000, 16_000)]


def speech_like(length: int) -> Samples:
    at = np.arange(length) / 22_050
    tones = [np.sin(2 * np.pi * hz * at) for hz in (120.0, 810.0, 2_700.0)]
    return np.asarray(0.25 * np.sum(tones, axis=0), dtype=np.float32)


def streamed(samples: Samples, cuts: list[int], *, from_hz: int, to_hz: int) -> Samples:
    resampler = StreamResampler(from_hz=from_hz, to_hz=to_hz)
    parts = [resampler.push(part) for part in np.split(samples, sorted(cuts))]
    return np.concatenate([*parts, resampler.flush()])


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
def test_streaming_equals_offline(from_hz: int, to_hz: int) -> None:
    samples = speech_like(30_000)
    offline = soxr.resample(samples, from_hz, to_hz, quality="HQ")
    got = streamed(samples, [1, 2, 500, 4_000, 4_001, 20_000], from_hz=from_hz, to_hz=to_hz)
    assert abs(len(offline) - len(got)) <= 1
    shared = min(len(offline), len(got))
    assert np.abs(offline[:shared] - got[:shared]).max() < 1e-5


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(0, 5_000),
    cuts=st.lists(st.integers(0, 5_000), max_size=8),
    rates=st.sampled_from(RATES),
)
def test_the_length_is_exact(length: int, cuts: list[int], rates: tuple[int, int]) -> None:
    from_hz, to_hz = rates
    inside = [min(place, length) for place in cuts]
    got = streamed(speech_like(length), inside, from_hz=from_hz, to_hz=to_hz)
    assert len(got) == int(length * to_hz / from_hz + 0.5)
    assert got.dtype == np.float32


def test_equal_rates_pass_untouched() -> None:
    resampler = StreamResampler(from_hz=24_000, to_hz=24_000)
    samples = speech_like(1_000)
    assert resampler.push(samples) is samples
    assert len(resampler.flush()) == 0
