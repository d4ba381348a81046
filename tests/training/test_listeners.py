"""How the judge counts errors."""

from __future__ import annotations

import pytest

from bench.harvard import HARVARD
from bench.listeners import compare, edit_distance, rates, words_of
from training.phrases import number_words
from training.sentences import JUDGED


def test_words_ignore_case_punctuation_and_digits() -> None:
    assert words_of("Well-known: it's 7 o'clock, 50 men!") == [
        *("well", "known", "it's", "seven", "o'clock", "fifty", "men")
    ]


@pytest.mark.parametrize(
    ("left", "right", "distance"),
    [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2)],
)
def test_edit_distance(left: str, right: str, distance: int) -> None:
    assert edit_distance(left, right) == distance


def test_a_looping_recogniser_counts_no_more_than_the_sentence() -> None:
    looped = compare("Glue the sheet.", "gee " * 50)
    assert (looped.word_errors, looped.words) == (3, 3)
    right = compare("A pot of tea.", "a pot of tea")
    assert right.word_errors == right.character_errors == 0
    assert rates([looped, right]).word == pytest.approx(3 / 7)


def test_the_judged_sentences_are_known_to_the_corpus_as_forbidden() -> None:
    assert {sentence.lower() for sentence in HARVARD} == JUDGED
    assert len(HARVARD) == 20


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "zero"), (21, "twenty-one"), (305, "three hundred five"), (2000, "two thousand")],
)
def test_numbers_are_written_as_words(value: int, words: str) -> None:
    assert number_words(value) == words
