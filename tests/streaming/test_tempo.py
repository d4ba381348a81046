"""Another speed, the same pitch, every sample accounted for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.events import AudioFrame, ChunkDone, ChunkStarted
from streaming.outlet import Outlet
from streaming.pipeline import SpeechPipeline
from streaming.request import Chunking
from streaming.speech import Samples
from streaming.tempo import Tempo
from tests.fakes import ToneModel, ToneScript
from tests.server.sounds import pitch_hz
from tests.streaming.contexts import REQUEST, TEXT, VOICE, collect, done_of, pcm_of

RATE_HZ = 22_050
SPEEDS = (0.25, 0.4, 0.5, 0.75, 0.9, 1.1, 1.5, 2.0, 2.7, 4.0)


def voiced(length: int, hz: float = 150.0) -> Samples:
    """Five harmonics, as a vowel has them."""
    at = np.arange(length) / RATE_HZ
    waves = [np.sin(2 * np.pi * hz * n * at) / n for n in range(1, 6)]
    return np.asarray(0.25 * np.sum(waves, axis=0), dtype=np.float32)


def played(samples: Samples, speed: float, cuts: list[int] | None = None) -> Samples:
    tempo = Tempo(sample_rate_hz=RATE_HZ, speed=speed)
    parts = [tempo.push(part) for part in np.split(samples, sorted(cuts or [2_000, 9_000]))]
    return np.concatenate([*parts, tempo.flush()])


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_pitch_stays_and_the_length_is_exact(speed: float) -> None:
    samples = voiced(3 * RATE_HZ)
    got = played(samples, speed)
    assert len(got) == int(len(samples) / speed + 0.5)
    assert pitch_hz(got, RATE_HZ) == pytest.approx(150.0, rel=0.005)
    assert np.std(got) == pytest.approx(np.std(samples), rel=0.1)
    assert np.abs(np.diff(got)).max() < 1.3 * np.abs(np.diff(samples)).max()


@pytest.mark.parametrize("speed", SPEEDS)
def test_things_happen_when_they_are_due(speed: float) -> None:
    at = np.arange(4 * RATE_HZ) / RATE_HZ
    samples = voiced(len(at)) * (at > 2.0)
    got = played(np.asarray(samples, np.float32), speed)
    began_s = np.flatnonzero(np.abs(got) > 0.1)[0] / RATE_HZ * speed
    assert began_s == pytest.approx(2.0, abs=0.1)


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(0, 6_000),
    cuts=st.lists(st.integers(0, 6_000), max_size=6),
    speed=st.floats(0.25, 4.0),
)
def test_any_cut_gives_the_same_samples(length: int, cuts: list[int], speed: float) -> None:
    inside = [min(place, length) for place in cuts]
    got = played(voiced(length), speed, inside)
    assert len(got) == int(length / speed + 0.5)
    assert got.dtype == np.float32
    assert np.array_equal(got, played(voiced(length), speed, [0]))


def test_speed_one_touches_nothing() -> None:
    tempo = Tempo(sample_rate_hz=RATE_HZ, speed=1.0)
    samples = voiced(1_000)
    assert tempo.push(samples) is samples
    assert len(tempo.flush()) == 0


def test_no_step_at_a_join_is_larger_than_around_it() -> None:
    outlet = Outlet(from_hz=RATE_HZ, to_hz=RATE_HZ, speed=1.7)
    pcm = b""
    for nth in range(4):
        frames = outlet.begin(pause_ms=0)
        frames += outlet.push(voiced(RATE_HZ + 371 * nth))
        frames += outlet.end(gap_ms=50.0 * (nth % 2), overlap=not nth % 2)
        pcm += b"".join(frame.pcm for frame in frames)
    steps = np.abs(np.diff(np.frombuffer(b"\0\0" + pcm + b"\0\0", "<i2") / 32_768))
    assert steps.max() < 1.3 * np.abs(np.diff(voiced(RATE_HZ))).max()


@pytest.mark.parametrize("rate_hz", [None, 24_000])
@pytest.mark.parametrize("speed", [0.25, 0.5, 0.8, 1.25, 2.0, 4.0])
async def test_a_context_takes_its_share_of_the_time(speed: float, rate_hz: int | None) -> None:
    request = replace(REQUEST, sample_rate_hz=rate_hz, chunking=Chunking(gap_ms=120))
    pipeline = SpeechPipeline(ToneModel(script=ToneScript(silence_ms=400.0)))
    plain = done_of(await collect(pipeline.speak_text(request, VOICE, TEXT)))
    events = await collect(pipeline.speak_text(replace(request, speed=speed), VOICE, TEXT))
    done = done_of(events)
    assert done.samples * speed == pytest.approx(plain.samples, rel=0.02)
    assert done.samples == len(pcm_of(events)) // 2
    at = 0
    for event in events:
        if isinstance(event, ChunkStarted | AudioFrame):
            assert event.first_sample == at
        at += event.samples if isinstance(event, AudioFrame) else 0
    assert at == sum(event.samples for event in events if isinstance(event, ChunkDone))
