"""A corpus without a teacher: two voices sing a tone per phone, so that stages can be tested."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.corpus import RATE_HZ, SAMPLE_SCALE, UNIT_S, Line, write_lines

WORDS = ("so", "we", "go", "on", "in", "an", "up")
TONES_HZ = (140.0, 260.0)
"""Lowest tone of each voice; each further phone is 40 Hz higher."""
SPACE = 1
WORDS_PER_LINE = 8


def toy_line(rng: np.random.Generator, speaker: int) -> Line:
    """Some words, each letter a phone of random duration, between two silences."""
    text = " ".join(rng.choice(WORDS, WORDS_PER_LINE))
    phones = [0, *(SPACE if c == " " else ord(c) - ord("a") + 2 for c in text), 0]
    durations = rng.integers(4, 8, len(phones))
    return Line(
        text=text.capitalize(),
        symbols=text,
        phones=tuple(phones),
        durations=tuple(int(d) for d in durations),
        speaker=speaker,
    )


def sung(line: Line, rng: np.random.Generator) -> NDArray[np.float64]:
    """The line as tones, with a little noise."""
    length = round(sum(line.durations) * UNIT_S * RATE_HZ)
    units = np.repeat(line.phones, np.asarray(line.durations, int))
    phone = units[np.arange(length) * len(units) // length]
    phase = np.cumsum(TONES_HZ[line.speaker] + 40.0 * phone) / RATE_HZ
    return 0.2 * np.sin(2 * np.pi * phase) + 0.01 * rng.standard_normal(length)


def toy_corpus(runs: Path, *, utterances: int, alignments: int, seed: int) -> int:
    """Write speech and alignments into ``runs``; returns the utterances."""
    rng = np.random.default_rng(seed)
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / "speech.i16").open("wb") as pcm:

        def spoken() -> Iterator[Line]:
            start = 0
            for index in range(utterances):
                line = toy_line(rng, index % len(TONES_HZ))
                wave = sung(line, rng)
                pcm.write((wave * SAMPLE_SCALE).astype(np.int16).tobytes())
                yield replace(line, start=start, samples=len(wave))
                start += len(wave)

        written = write_lines(runs / "speech.jsonl", spoken())
    write_lines(runs / "alignments.jsonl", (toy_line(rng, 0) for _ in range(alignments)))
    return written
