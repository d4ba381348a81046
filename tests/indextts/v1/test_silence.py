"""Silences are shortened code by code, as upstream shortens whole chunks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indextts.v1.silence import LONGEST, SILENT_CODE, TOLERATED, SilenceFilter

POST = Path(__file__).parents[2] / "goldens" / "indextts1" / "post.json"
STOP = 8193


def kept(codes: list[int]) -> list[int]:
    silence = SilenceFilter()
    return [code for code in codes if silence.keeps(code)]


@pytest.mark.parametrize(
    "case", json.loads(POST.read_text("utf-8"))["remove_long_silence_upstream"]
)
def test_it_keeps_what_upstream_keeps_and_at_most_the_first_silence_more(
    case: dict[str, list[int]],
) -> None:
    codes = case["codes"]
    ended = codes[: codes.index(STOP)] if STOP in codes else codes
    upstream = [code for code in case["out"] if code != STOP]
    ours = kept(ended)
    assert [c for c in ours if c != SILENT_CODE] == [c for c in upstream if c != SILENT_CODE]
    assert 0 <= ours.count(SILENT_CODE) - upstream.count(SILENT_CODE) <= TOLERATED - LONGEST


def test_short_chunks_and_short_silences_are_left_alone() -> None:
    codes = ([SILENT_CODE] * LONGEST + [7]) * 9
    assert kept(codes) == codes
    assert kept([SILENT_CODE] * TOLERATED) == [SILENT_CODE] * TOLERATED


def test_a_long_silence_ends() -> None:
    assert len(kept([SILENT_CODE] * 500)) == TOLERATED
    tail = [5] + [SILENT_CODE] * 200 + [6]
    assert len(kept([SILENT_CODE] * TOLERATED + tail)) == TOLERATED + LONGEST + 2
