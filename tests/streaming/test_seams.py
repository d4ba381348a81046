"""Joins that do not click, exact gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.seams import FADE_MS, SeamBlender, gap_after_ms
from streaming.speech import Samples

RATE_HZ = 24_000


def ms(duration_ms: float) -> int:
    return round(duration_ms * RATE_HZ / 1000)


def tone(length: int, *, phase: float = np.pi / 2, hz: float = 200.0) -> Samples:
    """A sine that begins at its peak: the worst edge."""
    at = np.arange(length) / RATE_HZ
    return np.asarray(0.8 * np.sin(2 * np.pi * hz * at + phase), dtype=np.float32)


def silence(duration_ms: float) -> Samples:
    return np.zeros(ms(duration_ms), np.float32)


def said(blender: SeamBlender, chunk: Samples, cuts: tuple[int, ...] = ()) -> Samples:
    """Everything of a chunk but its end."""
    return np.concatenate([blender.begin(), *[blender.push(p) for p in np.split(chunk, cuts)]])


STEEPEST = 0.8 * 2 * np.pi * 200 / RATE_HZ + 0.8 * np.pi / 2 / ms(FADE_MS)
"""Largest step of the tone, plus that of the fade."""


@pytest.mark.parametrize("gap_ms", [0.0, 120.0])
@pytest.mark.parametrize("overlap", [False, True])
def test_no_step_at_a_join_is_larger_than_around_it(gap_ms: float, overlap: bool) -> None:
    blender = SeamBlender(sample_rate_hz=RATE_HZ)
    parts: list[Samples] = []
    for nth in range(3):
        parts.append(said(blender, tone(9_000 + 37 * nth)))
        parts.append(blender.end(gap_ms=gap_ms, overlap=overlap and nth < 2))
    whole = np.concatenate([[0.0], *parts, [0.0]])
    assert np.abs(np.diff(whole)).max() < STEEPEST
    assert np.abs(whole).max() <= 0.81


@settings(max_examples=80, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 4_000), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 4_000), max_size=6),
    overlap=st.booleans(),
    gap_ms=st.sampled_from([0.0, 33.0]),
)
def test_the_split_of_samples_changes_nothing(
    lengths: list[int], cuts: list[int], overlap: bool, gap_ms: float
) -> None:
    def run(places: list[int]) -> Samples:
        blender = SeamBlender(sample_rate_hz=RATE_HZ)
        parts: list[Samples] = []
        for nth, length in enumerate(lengths):
            chunk = tone(length)
            parts.append(said(blender, chunk, tuple(sorted(min(p, len(chunk)) for p in places))))
            parts.append(blender.end(gap_ms=gap_ms, overlap=overlap and nth < len(lengths) - 1))
        return np.concatenate(parts)

    once = run([])
    assert np.array_equal(once, run(cuts))
    if not overlap:
        assert len(once) == sum(lengths) + len(lengths) * ms(gap_ms)


def test_the_gap_belongs_to_the_chunk_before_and_the_overlap_to_the_later() -> None:
    blender = SeamBlender(sample_rate_hz=RATE_HZ, overlap_ms=10.0)
    first = np.concatenate([said(blender, tone(5_000)), blender.end(overlap=True)])
    second = np.concatenate([said(blender, tone(5_000)), blender.end(gap_ms=50.0)])
    assert len(first) == 5_000 - ms(10)
    assert len(second) == 5_000 + ms(50)
    assert not second[-ms(50) :].any()


def test_a_crossfade_of_equal_signals_is_the_signal() -> None:
    blender = SeamBlender(sample_rate_hz=RATE_HZ, overlap_ms=10.0)
    constant = np.full(5_000, 0.5, np.float32)
    parts = [said(blender, constant), blender.end(overlap=True), said(blender, constant)]
    whole = np.concatenate(parts)
    middle = whole[ms(FADE_MS) : 9_000]
    assert middle == pytest.approx(np.full(len(middle), 0.5), abs=1e-6)


def test_an_overlap_is_not_lost_when_the_next_chunk_is_empty() -> None:
    blender = SeamBlender(sample_rate_hz=RATE_HZ, overlap_ms=10.0)
    first = np.concatenate([said(blender, tone(5_000)), blender.end(overlap=True)])
    second = np.concatenate([said(blender, silence(0)), blender.end()])
    whole = np.concatenate([first, second, [0.0]])
    assert len(second) == ms(10)
    assert np.abs(np.diff(whole[ms(FADE_MS) :])).max() < STEEPEST


def test_a_pause_comes_before_its_chunk_and_after_the_overlap() -> None:
    blender = SeamBlender(sample_rate_hz=RATE_HZ, overlap_ms=10.0)
    said(blender, tone(5_000))
    blender.end(overlap=True)
    before = blender.begin(pause_ms=100)
    assert len(before) == ms(110)
    assert before[: ms(5)].any()
    assert not before[ms(10) :].any()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("So it is.", 120), ("So it is,", 60), ("So it", 0), ("好。", 120), ("好，", 60), ("好", 0)],
)
def test_gaps_follow_the_punctuation(text: str, expected: float) -> None:
    assert gap_after_ms(text, 120) == expected
