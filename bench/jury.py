"""What listeners think of a speaker: words, naturalness, whose voice, silence at the edges."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.harvard import HARVARD
from bench.listeners import Heard, Naturalness, Recogniser, Samples, SpeakerEar, rates
from bench.mixed import MIXED, Judged
from speakers.catalog import Catalog

RATE_HZ = 22050
FRAME_S = 0.01
QUIET_DB = 40.0
"""A frame this far below the loudest one of its utterance is silence."""

SENTENCES: dict[str, tuple[Judged, ...]] = {
    "harvard": tuple(Judged(text=text, spoken=text) for text in HARVARD),
    "mixed": MIXED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """A sentence as it was spoken, float32 at 22,050 Hz."""

    asked: Judged
    samples: Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was heard of an utterance; ``nearest`` is the speaker it resembles most."""

    heard: Heard
    p808: float
    nearest: str
    similarity: float
    leading_s: float
    trailing_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerScore:
    """Sums over the utterances of a speaker; the silences are the longest ones."""

    speaker: str
    wer: float
    cer: float
    p808: float
    identity: float
    similarity: float
    leading_s: float
    trailing_s: float


def chosen_sentences(which: str, count: int | None) -> list[Judged]:
    """``harvard``, ``mixed`` or ``all``, at most ``count`` of each set, spread over it."""
    sets = SENTENCES if which == "all" else {which: SENTENCES[which]}
    chosen = []
    for sentences in sets.values():
        places = np.linspace(0, len(sentences) - 1, min(count or len(sentences), len(sentences)))
        chosen += [sentences[round(place)] for place in places]
    return chosen


def edges_s(samples: Samples) -> tuple[float, float]:
    """Seconds of silence before and after what is spoken."""
    size = round(FRAME_S * RATE_HZ)
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    level = np.sqrt((frames.astype(np.float64) ** 2).mean(1))
    loud = np.flatnonzero(level > level.max(initial=0.0) * 10 ** (-QUIET_DB / 20))
    if not len(loud):
        return len(samples) / RATE_HZ, 0.0
    return float(loud[0]) * FRAME_S, float(len(samples) - (loud[-1] + 1) * size) / RATE_HZ


class Jury:
    """Listens to utterances of the speakers of ``catalog``."""

    def __init__(self, catalog: Catalog) -> None:
        self._recogniser, self._ear = Recogniser(), SpeakerEar()
        self._opinion = Naturalness()
        known = {}
        for speaker in catalog.speakers:
            if speaker.unavailable is None:
                recording = speaker.load()[0]
                vector = self._ear.vector(recording.samples, recording.sample_rate_hz)
                known[speaker.name] = vector
        self._names, self._known = list(known), np.stack(list(known.values()))

    def hear(self, speaker: str, utterance: Utterance) -> Verdict:
        """Listen once; ``speaker`` is who should have spoken."""
        samples = utterance.samples
        near = self._known @ self._ear.vector(samples, RATE_HZ)
        leading_s, trailing_s = edges_s(samples)
        return Verdict(
            heard=self._recogniser.hear(utterance.asked.spoken, samples, RATE_HZ),
            p808=self._opinion.score(samples, RATE_HZ),
            nearest=self._names[int(near.argmax())],
            similarity=float(near[self._names.index(speaker)]),
            leading_s=leading_s,
            trailing_s=trailing_s,
        )


def score(speaker: str, verdicts: Sequence[Verdict]) -> SpeakerScore:
    """The verdicts on one speaker summed up; raises ``ValueError`` without any."""
    if not verdicts:
        raise ValueError("nothing was heard")
    total = rates([verdict.heard for verdict in verdicts])
    return SpeakerScore(
        speaker=speaker,
        wer=total.word,
        cer=total.character,
        p808=statistics.mean(verdict.p808 for verdict in verdicts),
        identity=statistics.mean(verdict.nearest == speaker for verdict in verdicts),
        similarity=statistics.mean(verdict.similarity for verdict in verdicts),
        leading_s=max(verdict.leading_s for verdict in verdicts),
        trailing_s=max(verdict.trailing_s for verdict in verdicts),
    )
