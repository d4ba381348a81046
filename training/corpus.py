"""The corpus on disk: aligned speech of the teacher's speakers, and alignments of texts alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

UNIT_S = 0.025
"""Durations are counted in this unit."""
CODES_HZ = 50
RATE_HZ = 22050
SAMPLE_SCALE = 32767.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A text, its phones (spoken words separated by the space symbol) and their durations."""

    text: str
    symbols: str
    phones: tuple[int, ...]
    """The symbols' ids between two silences."""
    durations: tuple[float, ...]
    speaker: int = 0
    start: int = 0
    """First sample in the corpus; 0 of 0 samples for a text alone."""
    samples: int = 0


def seeded_rng() -> np.random.Generator:
    """A generator that ``torch.manual_seed`` decides."""
    return np.random.default_rng(int(torch.randint(2**31, ())))


def write_lines(path: Path, lines: Iterator[Line]) -> int:
    """Write ``lines`` as JSON lines and count them; the file appears when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    count = 0
    with part.open("w", encoding="utf-8") as file:
        for line in lines:
            count += 1
            file.write(json.dumps(asdict(line), ensure_ascii=False) + "\n")
    part.rename(path)
    return count


def read_lines(path: Path) -> list[Line]:
    """The lines of a file that ``write_lines`` wrote."""
    lines = []
    with path.open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            row["phones"], row["durations"] = tuple(row["phones"]), tuple(row["durations"])
            lines.append(Line(**row))
    return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """Aligned utterances and their samples at 22,050 Hz."""

    lines: Sequence[Line]
    pcm: NDArray[np.int16]

    @staticmethod
    def load(runs: Path) -> Speech:
        """The corpus in ``runs``; raises ``FileNotFoundError`` before ``speech`` has made it."""
        pcm = np.fromfile(runs / "speech.i16", np.int16)
        return Speech(lines=read_lines(runs / "speech.jsonl"), pcm=pcm)

    def wave(self, line: Line) -> Tensor:
        """Samples ``[n]`` of an utterance in [-1, 1]."""
        piece = self.pcm[line.start : line.start + line.samples]
        return torch.from_numpy(piece.astype(np.float32) / SAMPLE_SCALE)


def frame_phones(
    durations: NDArray[np.floating],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Index of the phone, and 0 or 1 for its first or second half, at each of 50 codes a second.

    ``durations [n]`` are in units of 25 ms.
    """
    ends = np.cumsum(durations) * UNIT_S
    starts = ends - durations * UNIT_S
    time = (np.arange(int(ends[-1] * CODES_HZ)) + 0.5) / CODES_HZ
    index = np.searchsorted(ends, time, side="right").clip(0, len(durations) - 1)
    half = (time - starts[index]) > 0.5 * (ends[index] - starts[index])
    return index.astype(np.int64), half.astype(np.int64)


def codes_of(line: Line) -> NDArray[np.int64]:
    """Semantic codes at 50 per second: twice the phone, plus one in its second half."""
    index, half = frame_phones(np.asarray(line.durations, np.float64))
    codes: NDArray[np.int64] = np.asarray(line.phones, np.int64)[index] * 2 + half
    return codes
