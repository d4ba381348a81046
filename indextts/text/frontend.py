"""The text front end: what a user writes becomes segments of token ids."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from indextts.text.estimate import TokenEstimator
from indextts.text.language import Language, check_text, use_chinese
from indextts.text.normalizer import Normalizer
from indextts.text.segments import split_segments
from indextts.text.tokenizer import WORD_START, Tokenizer

__all__ = ["Segment", "TextFrontend", "use_chinese"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """What the model speaks in one go; ``unknown_count`` of the ids are not in the vocabulary."""

    text: str
    normalized_text: str
    pieces: tuple[str, ...]
    token_ids: tuple[int, ...]
    unknown_count: int = 0


class TextFrontend:
    """Normalizer and tokenizer in a row; the normalizer's rules decide for both.

    Safe to share between threads. Blocking, except ``estimate_tokens``.
    """

    def __init__(self, normalizer: Normalizer, tokenizer: Tokenizer) -> None:
        self._normalizer = normalizer
        self._tokenizer = tokenizer
        self._estimator = TokenEstimator(tokenizer)
        self._mended = normalizer.rules == "default"

    def prepare(
        self,
        text: str,
        *,
        max_tokens: int,
        glossary: Mapping[str, str] | None = None,
        language: Language | None = None,
    ) -> tuple[Segment, ...]:
        """Segments of at most ``max_tokens`` ids; none when nothing in ``text`` can be spoken.

        Raises ``InvalidText`` on lone surrogates.
        """
        normalized, pieces = self.read(text, glossary=glossary, language=language)
        parts = split_segments(pieces, max_tokens, self._normalizer.rules)
        segments = self._segments(text, normalized, parts)
        return tuple(
            segment for segment in segments if not self._mended or self._is_speakable(segment)
        )

    def read(
        self,
        text: str,
        *,
        glossary: Mapping[str, str] | None = None,
        language: Language | None = None,
    ) -> tuple[str, list[str]]:
        """The normalized text and its pieces.

        The reference gives a text of one character to the tokenizer as it is (section 4).
        """
        normalized = self._normalizer.normalize(text, glossary=glossary, language=language)
        if not self._mended and len(text.strip()) == 1:
            return normalized, self._tokenizer.raw_pieces(text)
        return normalized, self._tokenizer.pieces(normalized)

    def estimate_tokens(self, text: str, language: Language | None = None) -> int:
        """Upper bound of the number of ids; no grammar runs, safe on an event loop.

        A glossary may lengthen a text beyond it. Raises ``InvalidText`` on lone surrogates.
        """
        return self._estimator.estimate(check_text(text), language)

    def _segments(
        self, text: str, normalized: str, parts: Sequence[list[str]]
    ) -> Iterator[Segment]:
        spoken = list(_shares(normalized, parts))
        written = [text] if len(parts) == 1 else list(_counterparts(text, normalized, spoken))
        for pieces, spoken_part, written_part in zip(parts, spoken, written, strict=True):
            ids = self._tokenizer.ids(pieces)
            yield Segment(
                text=written_part.strip(),
                normalized_text=spoken_part.strip(),
                pieces=tuple(pieces),
                token_ids=tuple(ids),
                unknown_count=self._tokenizer.count_unknown(ids),
            )

    def _is_speakable(self, segment: Segment) -> bool:
        return any(
            token != self._tokenizer.unknown_id and any(map(str.isalnum, piece))
            for piece, token in zip(segment.pieces, segment.token_ids, strict=True)
        )


def _shares(normalized: str, parts: Sequence[Sequence[str]]) -> Iterator[str]:
    """Consecutive slices of ``normalized``, one for each part, as long as the part's pieces."""
    at = 0
    for part in parts[:-1]:
        wanted = sum(len(piece.replace(WORD_START, "")) for piece in part)
        start = at
        while at < len(normalized) and wanted > 0:
            wanted -= len(unicodedata.normalize("NFKC", normalized[at].upper()).strip())
            at += 1
        yield normalized[start:at]
    if parts:
        yield normalized[at:]


def _counterparts(text: str, normalized: str, slices: Sequence[str]) -> Iterator[str]:
    """Consecutive slices of ``text`` that were read as the given slices of ``normalized``."""
    blocks = SequenceMatcher(None, normalized, text).get_matching_blocks()
    start = end = 0
    for piece in slices[:-1]:
        end += len(piece)
        begun = [block for block in blocks if block.a <= end and block.size]
        last = begun[-1] if begun else blocks[-1]
        cut = max(start, last.b + min(last.size, end - last.a)) if begun else start
        yield text[start:cut]
        start = cut
    if slices:
        yield text[start:]
