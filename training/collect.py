"""Stages ``speech`` and ``alignments``: ask the teacher for the corpus."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from training.corpus import SAMPLE_SCALE, Line, write_lines
from training.people import everybody, speaker_of
from training.sentences import readings, sentences, with_pairs
from training.teacher import Aligned, Teacher

PHONES = range(6, 220)
"""Lengths, in phones, of the texts that are spoken."""
LONGEST = 260
"""Phones of the longest text that is aligned."""


class Inventory:
    """Dense phone numbers in the order of the teacher's ids; 0 is silence."""

    def __init__(self, teacher: Teacher) -> None:
        ids = sorted(set(teacher.symbols.values()))
        self._number = {0: 0} | {phone: index for index, phone in enumerate(ids, start=1)}
        self.size = len(self._number)

    def line(self, text: str, symbols: str, aligned: Aligned) -> Line:
        """A corpus line of ``aligned``, its phones renumbered."""
        phones = tuple(self._number[phone] for phone in aligned.phones)
        return Line(text=text, symbols=symbols, phones=phones, durations=aligned.durations)


def speech(runs: Path, *, count: int, seed: int = 0) -> int:
    """Speak ``count`` sentences, the speakers in turn; returns the utterances written."""
    teacher, people = Teacher(), everybody()
    texts = with_pairs(sentences(generated=12000, seed=seed), seed=seed)[:count]
    inventory = Inventory(teacher)
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / "speech.i16").open("wb") as pcm:

        def spoken() -> Iterator[Line]:
            start = 0
            for index, text in enumerate(texts):
                symbols = teacher.phonemize(text)
                if len(symbols) not in PHONES:
                    continue
                speaker = speaker_of(index)
                wave, aligned = teacher.speak(symbols, people[speaker], index)
                pcm.write((wave * SAMPLE_SCALE).astype(np.int16).tobytes())
                line = inventory.line(text, symbols, aligned)
                yield Line(
                    text=text, symbols=symbols, phones=line.phones, durations=line.durations,
                    speaker=speaker, start=start, samples=len(wave),
                )  # fmt: skip
                start += len(wave)

        return write_lines(runs / "speech.jsonl", spoken())


def alignments(runs: Path, *, count: int, seed: int = 1) -> int:
    """Align ``count`` texts without speaking them; returns the texts written."""
    teacher = Teacher()
    inventory = Inventory(teacher)

    def aligned() -> Iterator[Line]:
        for text in readings(count, seed=seed):
            symbols = teacher.phonemize(text)
            if 0 < len(symbols) <= LONGEST:
                yield inventory.line(text, symbols, teacher.align(symbols))

    return write_lines(runs / "alignments.jsonl", aligned())
