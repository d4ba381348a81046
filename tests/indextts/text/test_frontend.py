from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indextts.text.frontend import Segment, TextFrontend, use_chinese
from indextts.text.normalizer import Normalizer
from indextts.text.tokenizer import Tokenizer
from streaming.errors import InvalidText

Case = dict[str, Any]

LETTERS_AND_NUMBERS = [
    *("0", "1", "7", "8", "17", "2024", "1,000", "12:30", "½", "1/2", "777,777", "03/04/1999"),
    *("年", "月", "日", "个", "第", "点", "km", "kg", "m²", "MB/s", "th", "h", "°", "℃", "%"),
    *(".", "-", "--", "/", ":", "~", "_", "$", "¥", "€", "@", "#", "&", "+", "=", "<", "≥", "|"),
    *(" ", "  ", "a", "A", "word ", "I'm ", "’s", "Dr. ", "p.m. ", "www.x.org ", "GPT-", "May "),
    *("好", "ni3", "nüe4", "张-李", "“", "…", "é", "ß", "😀", "\n", "\x07"),
]


@pytest.fixture(scope="module", params=["tiny", "character"])
def frontend(
    request: pytest.FixtureRequest, tiny_tokenizer: Tokenizer, character_tokenizer: Tokenizer
) -> TextFrontend:
    tokenizer = tiny_tokenizer if request.param == "tiny" else character_tokenizer
    return TextFrontend(Normalizer(), tokenizer)


def test_a_short_text_is_one_segment(frontend: TextFrontend, tiny_tokenizer: Tokenizer) -> None:
    (segment,) = frontend.prepare(" It costs $5. ", max_tokens=120)
    assert segment.text == "It costs $5."
    assert segment.normalized_text == "It costs five dollars."
    assert len(segment.pieces) == len(segment.token_ids) <= 120
    assert isinstance(segment, Segment)


def test_a_long_text_is_cut_with_its_words(frontend: TextFrontend) -> None:
    text = "There were 25 people. They had 3 dogs! What did 12 of them want? Nobody knows it."
    segments = frontend.prepare(text, max_tokens=26)
    assert len(segments) >= 2
    assert all(2 <= len(segment.token_ids) <= 26 for segment in segments)
    written = "".join(segment.text for segment in segments).replace(" ", "")
    assert written == text.replace(" ", "")
    spoken = "".join(segment.normalized_text for segment in segments).replace(" ", "")
    whole = Normalizer().normalize(text)
    assert spoken == whole.replace(" ", "")
    for segment in segments:
        letters = "".join(segment.pieces).replace("▁", "").upper()
        assert segment.normalized_text.replace(" ", "").upper() == letters


def test_the_written_part_follows_the_spoken_part(tiny_tokenizer: Tokenizer) -> None:
    frontend = TextFrontend(Normalizer(), tiny_tokenizer)
    text = "小李有123个苹果，都很甜。小王有45个橘子，有点酸！"
    segments = frontend.prepare(text, max_tokens=40)
    assert [segment.text for segment in segments] == [
        "小李有123个苹果，都很甜。",
        "小王有45个橘子，有点酸！",
    ]


@pytest.mark.parametrize("text", ["", "   ", "😀", "...", "！？", "\x07"])
def test_what_cannot_be_spoken_gives_no_segments(frontend: TextFrontend, text: str) -> None:
    assert frontend.prepare(text, max_tokens=20) == ()


def test_the_reference_rules_speak_everything(tiny_tokenizer: Tokenizer) -> None:
    reference = TextFrontend(Normalizer("vllm"), tiny_tokenizer)
    assert len(reference.prepare("！？", max_tokens=20)) == 1


@pytest.mark.official
def test_a_single_character_is_normalized_unlike_the_reference(
    official_tokenizer: Tokenizer,
) -> None:
    default = TextFrontend(Normalizer(), official_tokenizer)
    reference = TextFrontend(Normalizer("vllm"), official_tokenizer)
    assert default.read(" a ")[1] == ["▁A"]
    assert default.read("7")[1] == ["▁", "七"]
    assert reference.read("a")[1] == ["▁", "a"]


def test_unknown_pieces_are_counted(frontend: TextFrontend) -> None:
    (segment,) = frontend.prepare("the fox ☂ jumps", max_tokens=60)
    assert segment.unknown_count == 1


def test_glossary_and_language_reach_the_normalizer(frontend: TextFrontend) -> None:
    (segment,) = frontend.prepare("fox", max_tokens=20, glossary={"FOX": "dog"})
    assert segment.normalized_text == "dog"
    assert frontend.read("12", language="en")[0] == "twelve"


def test_estimates_bound_every_golden_case(frontend: TextFrontend, cases: list[Case]) -> None:
    for case in cases:
        text = case["text"]
        assert frontend.estimate_tokens(text) >= len(frontend.read(text)[1]), case["id"]


def test_estimates_bound_the_reference_tokens(
    official_tokenizer: Tokenizer, cases: list[Case]
) -> None:
    frontend = TextFrontend(Normalizer("vllm"), official_tokenizer)
    estimates = [frontend.estimate_tokens(case["text"]) for case in cases]
    actual = [len(case["vllm"]["tokens"]) for case in cases]
    assert all(map(int.__ge__, estimates, actual))
    assert sum(estimates) < 2.5 * sum(actual)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(LETTERS_AND_NUMBERS), max_size=8).map("".join))
def test_estimates_bound_hard_texts(
    tiny_tokenizer: Tokenizer, character_tokenizer: Tokenizer, text: str
) -> None:
    for tokenizer in (tiny_tokenizer, character_tokenizer):
        for rules in ("default", "vllm"):
            frontend = TextFrontend(Normalizer(rules), tokenizer)
            assert frontend.estimate_tokens(text) >= len(frontend.read(text)[1])


def test_estimates_are_cheap_and_refuse_broken_text(frontend: TextFrontend) -> None:
    start = time.perf_counter()
    assert frontend.estimate_tokens("好1a-" * 25_000) >= 100_000
    assert time.perf_counter() - start < 1.0
    assert frontend.estimate_tokens("  ") == 0
    with pytest.raises(InvalidText):
        frontend.estimate_tokens("\ud800")


def test_the_front_end_tells_the_language() -> None:
    assert use_chinese("好") and not use_chinese("good")
