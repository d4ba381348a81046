"""What a text is expected to weigh, where a model's own bound is far too high."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from streaming.chunks import TextChunker
from streaming.reading import expected, spelled


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Hello there.", "Hello there."),
        ("at 10:30", "at  seven seven: seven seven"),
        ("在2023年", "在七七七七年"),
        ("**three** 😀 `x`", " three     x "),
    ],
)
def test_digits_are_words_and_unread_marks_are_nothing(text: str, plain: str) -> None:
    assert spelled(text) == plain


def wary(text: str) -> int:
    """A bound as a grammar needs it: a digit may be read at length, with a unit behind it."""
    return len(text) + 40 * len(re.findall(r"\d", text))


def test_what_is_expected_never_exceeds_the_bound() -> None:
    assert expected(wary)("at 10:30, no 7") == 14 + 5 * 5
    assert expected(len)("at 10:30") == 8


def test_a_line_of_numbers_is_not_cut_at_every_word() -> None:
    text = "Dr. Smith paid $1,234.56 at 10:30 a.m. on 2026-11-22, and then he left. "

    def chunks(estimate_tokens: Callable[[str], int]) -> list[str]:
        chunker = TextChunker(
            estimate_tokens=estimate_tokens,
            first_max_tokens=60,
            max_tokens=120,
            first_min_tokens=10,
        )
        return [chunk.text for chunk in (*chunker.feed(text), *chunker.finish())]

    assert len(chunks(wary)) > 4
    few = chunks(expected(wary))
    assert len(few) <= 3
    assert " ".join(few) == text.strip()
