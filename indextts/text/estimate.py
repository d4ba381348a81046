"""A cheap upper bound of the number of pieces, without running a grammar."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

from indextts.text.language import HAN, Language, language_of
from indextts.text.marks import map_marks
from indextts.text.pinyin import TONED_SYLLABLE_COMPLETE
from indextts.text.tokenizer import Tokenizer

# Above this length not even the tokenizer is asked: two pieces a character are always enough.
_LONGEST_TOKENIZED: Final = 2000

_DIGITS: Final = re.compile(r"\d+")

_FRACTIONS: Final = "¼-¾⅐-⅞"

# What a grammar lengthens, with the longest of its readings in each language.
_READINGS: Final[tuple[tuple[re.Pattern[str], Mapping[Language, str]], ...]] = (
    # A word right after a digit may be a unit, but not an ordinal ending.
    (
        re.compile(
            rf"(?<=[\d²³{_FRACTIONS}])\s?(?!(?:st|nd|rd|th)\b)[^\W\d_{HAN}]+", re.IGNORECASE
        ),
        {"en": "kilometers per hour", "zh": "每小时"},
    ),
    # Marks inside numbers and addresses: point, dot, to, minus.
    (re.compile(r"(?<=\w)[.:,](?=\w)|[.:](?=\d)"), {"en": "colon", "zh": "点"}),
    (re.compile(r"[-~～—](?=\d)|(?<=\d)[-~～—]"), {"en": "negative", "zh": "负"}),
    (re.compile(r"[-—]"), {"en": "", "zh": "减"}),
    # Symbols that are read by name.
    (
        re.compile(rf"[^\w\s.,:;!?'\"“”‘’，。！？、；：…（）《》「」【】()\[\]—-]|[_{_FRACTIONS}]"),
        {"en": "vertical bar", "zh": "大于等于"},
    ),
    # Contractions and abbreviations.
    (re.compile(r"['’](?=[A-Za-z])|[A-Za-z]\."), {"en": "is", "zh": "是"}),
)

_THREE_DIGITS: Final = "seven hundred and seventy seventh million"
_HEAD_DIGITS: Final = ("", "the seventh thousand", "the seventy seventh thousand")
_ONE_DIGIT: Final = "七千"


class TokenEstimator:
    """Bounds the number of pieces a text becomes, from the text alone."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

        def cost(reading: str) -> int:
            return len(tokenizer.pieces(reading))

        self._readings = [
            (pattern, {language: cost(reading) for language, reading in readings.items()})
            for pattern, readings in _READINGS
        ]
        self._three_digits = cost(_THREE_DIGITS)
        self._head_digits = tuple(map(cost, _HEAD_DIGITS))
        self._one_digit = cost(_ONE_DIGIT)

    def estimate(self, text: str, hint: Language | None = None) -> int:
        """At least as many as the pieces of the normalized text; 0 for blank text."""
        if not text.strip():
            return 0
        language = language_of(text, hint, mended=True)
        total = 0
        if language == "zh":
            # A syllable is respelled, and at worst read letter by letter.
            total = sum(len(found[0]) + 1 for found in TONED_SYLLABLE_COMPLETE.finditer(text))
            text = TONED_SYLLABLE_COMPLETE.sub(" ", text)
        total += self._unread(map_marks(text, language))
        for pattern, cost in self._readings:
            total += cost[language] * sum(1 for _ in pattern.finditer(text))
        for digits in _DIGITS.finditer(text):
            total += self._number(len(digits[0]), language)
        return total

    def _number(self, digits: int, language: Language) -> int:
        if language == "zh":
            return digits * self._one_digit
        return self._head_digits[digits % 3] + digits // 3 * self._three_digits

    def _unread(self, text: str) -> int:
        if len(text) <= _LONGEST_TOKENIZED:
            return len(self._tokenizer.pieces(text)) + 2
        return 2 * len(unicodedata.normalize("NFKC", text.upper())) + 2
