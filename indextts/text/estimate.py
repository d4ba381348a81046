"""A cheap upper bound of the number of pieces, without running a grammar."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

from indextts.text.language import HAN, Language, language_of
from indextts.text.tokenizer import Tokenizer

# Above this length not even the tokenizer is asked: two pieces a character are always enough.
_LONGEST_TOKENIZED: Final = 2000

_DIGITS: Final = re.compile(r"\d+")
_UNIT: Final = re.compile(rf"(?<=\d)\s?[^\W\d_{HAN}]+")
_SYMBOL: Final = re.compile(
    r"[^\w\s,!?;'\"“”‘’，。！？、；：…（）《》「」【】()\[\]-]|(?<=\d)[-,]|-(?=\d)|_"
)
_SHORT_FORM: Final = re.compile(r"['’](?=[A-Za-z])|[A-Za-z]\.")

# The longest readings seen for each kind, tokenized once per tokenizer.
_GROUP: Final[Mapping[Language, str]] = {
    "en": "the seven hundred and seventy seventh million",
    "zh": "七千七百七十七万亿",
}
_DIGIT: Final[Mapping[Language, str]] = {"en": "seventieth", "zh": "七千"}
_LONG_UNIT: Final[Mapping[Language, str]] = {
    "en": "cubic kilometers per second",
    "zh": "每平方千米分之摄氏",
}
_NAMED_SYMBOL: Final[Mapping[Language, str]] = {
    "en": "september hundredth of",
    "zh": "大于等于",
}
_EXPANSION: Final[Mapping[Language, str]] = {"en": "professor", "zh": "点是"}


class TokenEstimator:
    """Bounds the number of pieces a text becomes, from the text alone."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

        def cost(readings: Mapping[Language, str]) -> dict[Language, int]:
            return {
                "zh": len(tokenizer.pieces(readings["zh"])),
                "en": len(tokenizer.pieces(readings["en"])),
            }

        self._group = cost(_GROUP)
        self._digit = cost(_DIGIT)
        self._per_match = [
            (_UNIT, cost(_LONG_UNIT)),
            (_SYMBOL, cost(_NAMED_SYMBOL)),
            (_SHORT_FORM, cost(_EXPANSION)),
        ]

    def estimate(self, text: str, hint: Language | None = None) -> int:
        """At least as many as the pieces of the normalized text; 0 for blank text."""
        if not text.strip():
            return 0
        language = language_of(text, hint)
        total = self._unread(text)
        for pattern, cost in self._per_match:
            total += cost[language] * sum(1 for _ in pattern.finditer(text))
        for digits in _DIGITS.finditer(text):
            length = len(digits[0])
            in_groups = -(-length // 3) * self._group[language]
            total += max(in_groups, length * self._digit[language])
        return total

    def _unread(self, text: str) -> int:
        if len(text) <= _LONGEST_TOKENIZED:
            return len(self._tokenizer.pieces(text)) + 1
        return 2 * len(unicodedata.normalize("NFKC", text.upper())) + 1
