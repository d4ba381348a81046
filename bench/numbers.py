"""Numbers in English words, as the judge compares them and the corpus writes them."""

from __future__ import annotations

# fmt: off
_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
# fmt: on
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}


def number_words(value: int) -> str:
    """``value`` (0 to 999,999) in English words."""
    if value >= 1000:
        rest = f" {number_words(value % 1000)}" if value % 1000 else ""
        return f"{number_words(value // 1000)} thousand{rest}"
    if value >= 100:
        rest = f" {number_words(value % 100)}" if value % 100 else ""
        return f"{_ONES[value // 100]} hundred{rest}"
    if value >= 20:
        return _TENS[value // 10 - 2] + (f"-{_ONES[value % 10]}" if value % 10 else "")
    return _ONES[value]


def ordinal_words(value: int) -> str:
    """The ordinal of ``value``: ``21`` gives ``twenty-first``."""
    words = number_words(value)
    last = words.replace("-", " ").split()[-1]
    usual = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return words.removesuffix(last) + _ORDINALS.get(last, usual)
