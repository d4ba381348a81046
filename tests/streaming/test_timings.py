"""Chunk times are exact, times inside a chunk follow its sound, subtitles are well-formed."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from streaming.timings import LONGEST_CUE, ChunkTimer, ChunkTimes, Span, srt, vtt

RATE_HZ = 22_050


def sound(*seconds: float) -> bytes:
    """A tone and silence in turn, as long as the seconds say."""
    parts: list[bytes] = []
    for nth, length_s in enumerate(seconds):
        at = np.arange(round(length_s * RATE_HZ))
        parts.append((8_000 * (nth % 2 == 0) * np.sin(at * 0.1)).astype("<i2").tobytes())
    return b"".join(parts)


def timed(text: str, pcm: bytes, first_sample: int = 0, step: int = 1764) -> ChunkTimes:
    timer = ChunkTimer(text=text, first_sample=first_sample, sample_rate_hz=RATE_HZ)
    for at in range(0, len(pcm), step):
        timer.push(pcm[at : at + step])
    return timer.times()


def test_chunk_times_are_exact() -> None:
    times = timed("Hello.", sound(0.5, 0.25), first_sample=RATE_HZ * 2)
    assert times.start_ms == 2000
    assert times.end_ms == pytest.approx(2750, abs=1000 / RATE_HZ)


def test_characters_are_in_order_whatever_the_sound() -> None:
    chance = random.Random(3)
    for _ in range(200):
        text = "".join(chance.choices("ab 1.,;好。\n-…“", k=chance.randrange(1, 60)))
        pcm = sound(*(chance.uniform(0, 0.4) for _ in range(chance.randrange(0, 8))))
        times = timed(text, pcm, step=chance.choice((2, 500, 1764)) if len(pcm) < 9_000 else 1764)
        assert [span.text for span in times.characters] == list(text)
        edges = [t for span in times.characters for t in (span.start_ms, span.end_ms)]
        assert all(a <= b + 1e-6 for a, b in itertools.pairwise(edges))
        assert times.start_ms <= edges[0]
        assert edges[-1] <= times.end_ms
        assert "".join(word.text for word in times.words) == "".join(text.split())


def test_a_mark_takes_the_pause() -> None:
    times = timed("Hello there, this is all.", sound(1.0, 0.3, 0.6, 0.1))
    hello, there, this, *_, last = times.words
    assert hello.start_ms == pytest.approx(0, abs=15)
    assert hello.end_ms == pytest.approx(500, abs=25)
    assert there.end_ms == pytest.approx(1000, abs=25)
    assert this.start_ms == pytest.approx(1300, abs=25)
    assert last.end_ms == pytest.approx(1900, abs=25)


def test_a_pause_without_a_mark_belongs_to_no_word_before_its_time() -> None:
    times = timed("one two six ten", sound(1.0, 0.5, 1.0))
    assert [round(word.start_ms, -2) for word in times.words] == [0, 500, 1500, 2000]


def test_a_silent_chunk_is_shared_out_evenly() -> None:
    times = timed("abcd", bytes(RATE_HZ * 2))
    assert [round(span.start_ms) for span in times.characters] == [0, 249, 499, 748]


def test_wide_characters_are_words() -> None:
    times = timed("你好,world", sound(1.0))
    assert [word.text for word in times.words] == ["你", "好,", "world"]


def test_cues_cut_long_chunks_between_words() -> None:
    text = "All these words together are far too long for one subtitle. " * 4
    times = timed(text.strip(), sound(8.0))
    assert len(times.cues) == 3
    assert all(len(cue.text) <= LONGEST_CUE for cue in times.cues)
    assert " ".join(cue.text for cue in times.cues) == text.strip()
    assert timed("好的。 Yes!", sound(1.0)).cues[0].text == "好的。 Yes!"


def test_subtitles() -> None:
    spans = [
        Span(text="A <b> & c", start_ms=0.4, end_ms=999.6),
        Span(text="Later.", start_ms=3_661_001, end_ms=3_661_500),
    ]
    assert srt(spans) == (
        "1\n00:00:00,000 --> 00:00:01,000\nA <b> & c\n\n2\n01:01:01,001 --> 01:01:01,500\nLater.\n"
    )
    assert vtt(spans) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nA &lt;b&gt; &amp; c\n\n"
        "01:01:01.001 --> 01:01:01.500\nLater.\n"
    )
