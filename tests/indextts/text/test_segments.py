from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indextts.text.segments import split_segments

Case = dict[str, Any]

PIECES = ("▁", "a", "▁WORD", ",", "▁,", "-", "▁-", ".", "▁.", "!", "▁?", "▁...", "'", "▁'")
runs = st.lists(st.sampled_from(PIECES), max_size=150)


def flat(segments: list[list[str]]) -> list[str]:
    return list(chain.from_iterable(segments))


def shows_no_defect(segments: list[list[str]], pieces: list[str], max_tokens: int) -> bool:
    sizes = [len(segment) for segment in segments]
    whole = flat(segments) == pieces and max(sizes, default=0) <= max_tokens
    return whole and (len(sizes) < 2 or min(sizes) > 1)


@given(runs, st.integers(3, 60))
def test_default_segments_are_the_pieces_cut_fairly(pieces: list[str], max_tokens: int) -> None:
    segments = split_segments(pieces, max_tokens)
    assert shows_no_defect(segments, pieces, max_tokens)
    reference = split_segments(pieces, max_tokens, "vllm")
    if shows_no_defect(reference, pieces, max_tokens):
        assert segments == reference


@given(runs, st.integers(1, 4))
def test_even_the_smallest_limits_hold(pieces: list[str], max_tokens: int) -> None:
    segments = split_segments(pieces, max_tokens)
    assert flat(segments) == pieces
    assert all(1 <= len(segment) <= max_tokens for segment in segments)


@given(runs, st.integers(1, 60), st.integers(0, 100))
def test_reference_segments_never_lose_a_piece(
    pieces: list[str], max_tokens: int, quick_tokens: int
) -> None:
    for rules in ("vllm", "upstream25"):
        segments = split_segments(
            pieces,
            max_tokens,
            rules,
            quick_tokens=quick_tokens,
        )
        assert [piece for piece in flat(segments) if "'" not in piece] == [
            piece for piece in pieces if "'" not in piece
        ]


@pytest.mark.parametrize("rules", ["vllm", "upstream25"])
def test_segments_of_the_golden_tokens_equal_the_reference(cases: list[Case], rules: Any) -> None:
    for case in cases:
        pieces = case[rules].get("tokens", case["vllm"]["tokens"])
        for setting, segments in case[rules]["segments"].items():
            size, _, quick = setting.partition("/q")
            ours = split_segments(pieces, int(size), rules, quick_tokens=int(quick or 0))
            assert ours == segments, (case["id"], setting)


def test_default_equals_the_reference_where_that_shows_no_defect(cases: list[Case]) -> None:
    compared = 0
    for case in cases:
        pieces = case["vllm"]["tokens"]
        for setting, reference in case["vllm"]["segments"].items():
            segments = split_segments(pieces, int(setting))
            assert shows_no_defect(segments, pieces, int(setting)), (case["id"], setting)
            if shows_no_defect(reference, pieces, int(setting)):
                assert segments == reference, (case["id"], setting)
                compared += 1
    assert compared > 1000


def test_a_lonely_last_piece_shares_with_its_neighbour() -> None:
    pieces = ["▁W"] * 121
    assert [len(part) for part in split_segments(pieces, 120, "vllm")] == [120, 1]
    assert [len(part) for part in split_segments(pieces, 120)] == [60, 61]


def test_a_quote_closes_its_sentence_once() -> None:
    pieces = ["▁'", "A", "B", ".", "'", "▁C", "D", "."]
    assert split_segments(pieces, 5) == [pieces[:5], pieces[5:]]
    assert split_segments(pieces, 4, "vllm")[0] == pieces[:5]


def test_pieces_that_would_recurse_for_ever_are_cut() -> None:
    assert flat(split_segments([",", "-", *"x" * 30], 10, "vllm")) == [",", "-", *"x" * 30]


def test_a_limit_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        split_segments(["a"], 0)
