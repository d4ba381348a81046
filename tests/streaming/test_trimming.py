"""Silence that is cut away, and silence that stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.speech import Samples
from streaming.trimming import LEAD_MS, PAUSE_MS, TAIL_MS, Trimmer

RATE_HZ = 24_000


def ms(duration_ms: float) -> int:
    return round(duration_ms * RATE_HZ / 1000)


def tone(length: int) -> Samples:
    at = np.arange(length) / RATE_HZ
    return np.asarray(0.8 * np.cos(2 * np.pi * 200 * at - 1.0), dtype=np.float32)


def silence(duration_ms: float) -> Samples:
    return np.zeros(ms(duration_ms), np.float32)


def trimmed(chunk: Samples, cuts: list[int] | None = None) -> tuple[Samples, float]:
    trimmer = Trimmer(sample_rate_hz=RATE_HZ)
    parts = [trimmer.push(part) for part in np.split(chunk, sorted(cuts or []))]
    return np.concatenate([*parts, trimmer.end()]), trimmer.trimmed_ms


@settings(max_examples=80, deadline=None)
@given(
    length=st.integers(1, 4_000),
    cuts=st.lists(st.integers(0, 12_000), max_size=6),
    lead_ms=st.integers(0, 120),
)
def test_the_split_of_samples_changes_nothing(length: int, cuts: list[int], lead_ms: int) -> None:
    words = [silence(lead_ms), tone(length), silence(30), tone(50), silence(150)]
    chunk = np.concatenate(words)
    once, _ = trimmed(chunk)
    assert np.array_equal(once, trimmed(chunk, [min(place, len(chunk)) for place in cuts])[0])
    expected = min(ms(lead_ms), ms(LEAD_MS)) + length + ms(30) + 50 + ms(TAIL_MS)
    assert abs(len(once) - expected) <= 3, "a sample of the tone may be below the threshold"


def test_silence_is_trimmed_and_reported() -> None:
    out, trimmed_ms = trimmed(np.concatenate([silence(400), tone(5_000), silence(700)]))
    assert len(out) == pytest.approx(ms(LEAD_MS + TAIL_MS) + 5_000, abs=3)
    assert trimmed_ms == pytest.approx(400 - LEAD_MS + 700 - TAIL_MS, abs=1)


def test_a_pause_inside_a_chunk_stays() -> None:
    chunk = np.concatenate([tone(5_000), silence(PAUSE_MS), tone(5_000)])
    out, trimmed_ms = trimmed(chunk)
    assert np.array_equal(out, chunk)
    assert trimmed_ms == 0


@pytest.mark.parametrize("step", [997, 50_000, 1_000_000])
def test_a_long_pause_is_cut_in_its_middle(step: int) -> None:
    hiss = np.full(ms(40), 0.002, np.float32)  # too quiet to count, but speech
    words = [tone(5_000), hiss, silence(3_000), hiss, tone(5_000), silence(4_000)]
    chunk = np.concatenate(words)
    out, trimmed_ms = trimmed(chunk, list(range(step, len(chunk), step)))
    assert len(out) == pytest.approx(10_000 + ms(PAUSE_MS + TAIL_MS), abs=6)
    assert trimmed_ms == pytest.approx((len(chunk) - len(out)) * 1000 / RATE_HZ)
    assert np.count_nonzero(out == np.float32(0.002)) == 2 * ms(40)


def test_an_utterly_silent_chunk_is_short() -> None:
    out, trimmed_ms = trimmed(silence(2_000))
    assert len(out) == ms(LEAD_MS)
    assert trimmed_ms == pytest.approx(2_000 - LEAD_MS)
