"""Rounding, clipping and exact framing of PCM."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.pcm import PcmFramer, to_s16le


def test_rounds_and_clips() -> None:
    samples = np.array([0.0, 1.0, -1.0, 2.0, -2.0, 0.4 / 32767, 0.6 / 32767], np.float32)
    pcm = np.frombuffer(to_s16le(samples), "<i2")
    assert pcm.tolist() == [0, 32767, -32767, 32767, -32768, 0, 1]


@given(lengths=st.lists(st.integers(0, 700), max_size=12), frame_ms=st.sampled_from([1, 10, 20]))
def test_frames_are_exact_however_the_samples_come(lengths: list[int], frame_ms: int) -> None:
    rate_hz = 22_050
    noise = np.random.default_rng(len(lengths)).uniform(-1, 1, sum(lengths)).astype(np.float32)
    framer = PcmFramer(sample_rate_hz=rate_hz, frame_ms=frame_ms)
    frames: list[bytes] = []
    for part in np.split(noise, np.cumsum(lengths)[:-1]) if lengths else []:
        frames += framer.push(part)
    frame_bytes = 2 * (rate_hz * frame_ms // 1000)
    assert all(len(frame) == frame_bytes for frame in frames)
    last = framer.flush()
    assert len(last) <= 1
    assert all(0 < len(frame) < frame_bytes for frame in last)
    assert b"".join(frames + last) == to_s16le(noise)
    assert framer.flush() == []


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 24_000, 48_000])
def test_the_default_frame_is_40_ms(rate_hz: int) -> None:
    (frame,) = PcmFramer(sample_rate_hz=rate_hz).push(np.zeros(rate_hz // 25, np.float32))
    assert len(frame) == 2 * (rate_hz // 25)
