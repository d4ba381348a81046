"""How long a text is when it is read aloud, roughly and at little cost."""

from __future__ import annotations

import re
from collections.abc import Callable

_DIGIT = re.compile(r"\d")
_HAN = re.compile(r"[\u3400-\u9fff]")
_UNREAD = re.compile(r"[^\w\s.,:;!?'\"/@%$€£¥&+=，。！？、；：…（）“”‘’-]+|[_`]+")


def spelled(text: str) -> str:
    """The text with a word for every digit, without marks that are seldom read.

    A number of ``n`` digits is about ``n`` words of six letters in English ("twelve point five")
    and about ``n`` syllables in Chinese.
    """
    digit = "七" if _HAN.search(text) else " seven"
    return _DIGIT.sub(digit, _UNREAD.sub(" ", text))


def expected(estimate_tokens: Callable[[str], int]) -> Callable[[str], int]:
    """How many tokens to expect, of a model's upper bound.

    The bound has to hold for the longest reading of every number and mark, so that a line full of
    them would be cut at every word; what is expected never exceeds the bound.
    """

    def tokens(text: str) -> int:
        bound, plain = estimate_tokens(text), spelled(text)
        return bound if plain == text else min(bound, estimate_tokens(plain))

    return tokens
