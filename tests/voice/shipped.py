"""What the shipped checkpoint scored when it was exported, and how far it may fall behind."""

from __future__ import annotations

from dataclasses import dataclass

from bench.jury import SpeakerScore

SENTENCES_EACH = 3
"""Of each of the judge's sets, for every speaker."""
RATE_MARGIN, P808_MARGIN, SIMILARITY_MARGIN = 0.08, 0.15, 0.05
"""Other CPUs round differently, and one misheard word of the few is two percent."""
IDENTITY = 0.75
"""Utterances that resemble the speaker's own recording most; 0.875 when it was shipped."""
LEADING_S, TRAILING_S = 0.15, 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Scores of a speaker in the sentences of the test."""

    wer: float
    cer: float
    p808: float
    similarity: float

    def missed(self, score: SpeakerScore) -> list[str]:
        """The figures of ``score`` that are worse than these by more than a margin."""
        found = {
            "wer": score.wer > self.wer + RATE_MARGIN,
            "cer": score.cer > self.cer + RATE_MARGIN,
            "p808": score.p808 < self.p808 - P808_MARGIN,
            "similarity": score.similarity < self.similarity - SIMILARITY_MARGIN,
            "leading silence": score.leading_s > LEADING_S,
            "trailing silence": score.trailing_s > TRAILING_S,
        }
        return [name for name, worse in found.items() if worse]


SHIPPED: dict[str, Measured] = {
    "ada": Measured(wer=0.267, cer=0.128, p808=2.90, similarity=0.74),
    "boris": Measured(wer=0.227, cer=0.131, p808=2.89, similarity=0.78),
    "clara": Measured(wer=0.267, cer=0.192, p808=2.82, similarity=0.71),
    "dana": Measured(wer=0.173, cer=0.118, p808=2.88, similarity=0.72),
}
"""Speaker -> what was measured; every speaker of speaker.json has a row."""
