"""How the judge counts errors."""

from __future__ import annotations

import pytest

from bench.harvard import HARVARD
from bench.listeners import compare, edit_distance, rates, words_of
from bench.mixed import MIXED
from bench.numbers import number_words, ordinal_words
from indextts.text.normalizer import Normalizer
from training.sentences import JUDGED, bare


def test_words_ignore_case_punctuation_and_digits() -> None:
    assert words_of("Well-known: it's 7 o'clock, 50 men!") == [
        *("well", "known", "it's", "seven", "o'clock", "fifty", "men")
    ]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("$30, 80%", "thirty dollars eighty percent"),
        ("May 4th at 3:30", "may fourth at three thirty"),
        ("117 or one hundred and seventeen", "one hundred seventeen or one hundred seventeen"),
        (
            "Dr. Miller, 1984 and 2,500",
            "doctor miller nineteen eighty four and two thousand five hundred",
        ),
        ("007", "zero zero seven"),
    ],
)
def test_words_are_those_that_are_read(written: str, words: str) -> None:
    assert words_of(written) == words.split()


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
    assert len(HARVARD) == 20 and len(MIXED) == 40
    assert all(bare(text) in JUDGED for text in HARVARD)
    assert all({bare(one.text), bare(one.spoken)} <= JUDGED for one in MIXED)


def test_the_front_end_reads_the_judges_sentences_as_they_should_be_heard() -> None:
    normalizer = Normalizer()
    for one in MIXED:
        assert words_of(normalizer.normalize(one.text)) == words_of(one.spoken)
    assert 180 <= max(len(one.text) for one in MIXED) <= 200


@pytest.mark.parametrize(
    ("value", "words"), [(4, "fourth"), (21, "twenty-first"), (30, "thirtieth")]
)
def test_ordinals_are_written_as_words(value: int, words: str) -> None:
    assert ordinal_words(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "zero"), (21, "twenty-one"), (305, "three hundred five"), (2000, "two thousand")],
)
def test_numbers_are_written_as_words(value: int, words: str) -> None:
    assert number_words(value) == words
