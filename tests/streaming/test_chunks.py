"""Chunks depend on the text alone, respect their caps and cut where a reader would."""

from __future__ import annotations

import math
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.chunks import TextChunk, TextChunker
from streaming.errors import TextTooLong
from streaming.pieces import Cut, cut_after

FIRST, LARGEST = 12, 48


def estimate(text: str) -> int:
    wide = sum(1 for character in text if character >= "\u2e80")
    return wide + math.ceil((len(text) - wide) / 4)


def chunker(
    first: int = FIRST, largest: int = LARGEST, limit_characters: int = 1_000_000
) -> TextChunker:
    return TextChunker(
        estimate_tokens=estimate,
        first_max_tokens=first,
        max_tokens=largest,
        limit_characters=limit_characters,
    )


def cut(text: str, first: int = FIRST, largest: int = LARGEST) -> list[TextChunk]:
    one = chunker(first, largest)
    return one.feed(text) + one.finish()


def texts(text: str, first: int = FIRST, largest: int = LARGEST) -> list[str]:
    return [chunk.text for chunk in cut(text, first, largest)]


def squeezed(text: str) -> str:
    return "".join(text.split())


WORDS = st.sampled_from(
    re.split(
        " ",
        "a the listener Dr. Mr. e.g. U.S. No. 5 1,234.56 3.14 10:30 2026-11-22 “quoted words.” (or "
        "so) https://example.com/a,b?c=d. me@example.org, wait... stop! what? yes, semi; 你好 "
        '世界。 价格， １２３，４５６ 《红楼梦》 他说：“走吧！” 1. - "straight" \n \n\n 😀 … — '
        "extraordinarily-long-words",
    )
)
PROSE = st.lists(WORDS, max_size=60).map(" ".join)
ANYTHING = st.one_of(
    PROSE,
    st.text(max_size=200),
    st.text(alphabet='ab .,"“”()1。，好\n', max_size=300),
)


@settings(max_examples=150, deadline=None)
@given(text=ANYTHING, cuts=st.lists(st.integers(0, 400), max_size=12), data=st.data())
def test_any_split_gives_the_same_chunks(text: str, cuts: list[int], data: st.DataObject) -> None:
    places = sorted({min(place, len(text)) for place in cuts} | {0, len(text)})
    one = chunker()
    got: list[TextChunk] = []
    for start, end in zip(places, [*places[1:], len(text)], strict=True):
        got += one.feed(text[start:end])
        assert 0 <= one.buffered <= len(text)
    whole = chunker()
    expected = whole.feed(text)
    assert got == expected
    assert got + one.finish() == expected + whole.finish()


@settings(max_examples=150, deadline=None)
@given(text=ANYTHING)
def test_nothing_is_lost_and_caps_are_respected(text: str) -> None:
    chunks = cut(text)
    assert squeezed("".join(chunk.text for chunk in chunks)) == squeezed(text)
    at = 0
    for chunk in chunks:
        assert at <= chunk.start < chunk.end <= len(text)
        assert not text[at : chunk.start].strip()
        assert text[chunk.start : chunk.end] == chunk.text or " " * 32 in text or "\n" in text
        at = chunk.end
        assert estimate(chunk.text) <= LARGEST
        cap = min(LARGEST, FIRST * 2**chunk.index)
        if estimate(chunk.text) > cap:  # only what must not be cut may be longer than the ramp
            assert not any(
                cut_after(chunk.text[:place], chunk.text[place:])
                for place in range(1, len(chunk.text))
                if chunk.text[place].isspace() and estimate(chunk.text[:place]) < cap - 2
            )
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert [chunk.is_last for chunk in chunks] == [False] * (len(chunks) - 1) + [True] * bool(
        chunks
    )
    assert [chunk.is_first for chunk in chunks] == [index == 0 for index in range(len(chunks))]


@settings(max_examples=60, deadline=None)
@given(text=PROSE, flush_at=st.integers(0, 200))
def test_a_flush_speaks_everything_and_goes_on(text: str, flush_at: int) -> None:
    one = chunker()
    before = one.feed(text[:flush_at]) + one.flush()
    assert one.buffered == 0
    assert squeezed("".join(chunk.text for chunk in before)) == squeezed(text[:flush_at])
    assert not any(chunk.is_last for chunk in before)
    after = one.feed(text[flush_at:]) + one.finish()
    assert squeezed("".join(chunk.text for chunk in after)) == squeezed(text[flush_at:])
    assert [chunk.index for chunk in before + after] == list(range(len(before + after)))


UNCUT = [
    "1,234.56",
    "3.14159",
    "10:30:15",
    "2026-11-22",
    "https://example.com/path,with;marks?a=1.5&b=2!x",
    "first.last@mail.example.org",
    "U.S.",
    "e.g.",
    "v1.2.3",
    "don't",
    "don’t",
    "Dr. Smith",
    "J. K. Rowling",
    "No. 5",
    "state-of-the-art",
    "100,000,000",
    "１，２３４",
    "10：30",
    "3.5%",
    "$19.99",
    "AT&T",
]
ENGLISH = "there we go and {} comes along again so that "
CHINESE = "我们一起去公园然后{}又来了所以"


@pytest.mark.parametrize("piece", UNCUT)
@pytest.mark.parametrize("frame", [ENGLISH, CHINESE])
def test_no_cut_inside(piece: str, frame: str) -> None:
    for shift in range(12):
        text = "x " * shift + frame.format(piece) * 6
        chunks = texts(text, first=16, largest=24)
        assert len(chunks) >= 4
        assert sum(chunk.count(piece) for chunk in chunks) == 6, chunks


@pytest.mark.parametrize(
    "pair",
    [
        "“It is late. We go now,”",
        '"It is late. We go now,"',
        "(it is late. We go, now)",
        "“天色已晚。我们走吧，”",
        "《红楼梦，西游记》",
        "（天色已晚。我们走吧）",
        "「天色已晚。走吧」",
    ],
)
def test_no_cut_inside_a_pair_that_fits(pair: str) -> None:
    frame = (
        "and then {} was said, of course. "
        if pair.isascii() or pair[1] == "I"
        else "他们{}说，对。"
    )
    for first in (16, 20, 24):
        chunks = texts(frame.format(pair) * 5, first=first, largest=24)
        assert sum(chunk.count(pair) for chunk in chunks) == 5, chunks


def test_a_pair_that_is_too_long_is_cut_at_its_best_place() -> None:
    text = "He said “" + "the same thing again, and more of it, as ever. " * 8 + "”"
    chunks = texts(text)
    assert len(chunks) > 2
    assert all(chunk[-1] in ".,”" for chunk in chunks[1:]), chunks


SENTENCES = [
    (
        "Hello there, my friend. Dr. Smith paid 1,234.56 dollars at 10:30. Was it too much? Yes!",
        [
            "Hello there, my friend.",
            "Dr. Smith paid 1,234.56 dollars at 10:30. Was it too much? Yes!",
        ],
    ),
    (
        "今天天气真好，我们去公园玩吧。价格是1,234.56元，时间是10:30，别忘了。真的吗？",
        [
            "今天天气真好，",
            "我们去公园玩吧。",
            "价格是1,234.56元，时间是10:30，别忘了。真的吗？",
        ],
    ),
    (
        "A title line here\n\nThe text begins now and it goes on.",
        ["A title line here", "The text begins now and it goes on."],
    ),
    (
        "1. Take the first one\n2. Take the second one\n",
        ["1. Take the first one", "2. Take the second one"],
    ),
    ("Short.", ["Short."]),
    (
        "She works for Acme Inc. in the U.S. Army. It is so, as we know.",
        ["She works for Acme Inc. in the U.S. Army.", "It is so, as we know."],
    ),
]


@pytest.mark.parametrize(("text", "expected"), SENTENCES)
def test_cuts_where_a_reader_would(text: str, expected: list[str]) -> None:
    assert texts(text) == expected


CUTS = [
    ("Hello.", " There", Cut.SENTENCE),
    ("Hello.”", " There", Cut.SENTENCE),
    ("Mr.", " Smith", Cut.NEVER),
    ("etc.", " and", Cut.WORD),
    ("etc.", " And", Cut.WORD),
    ("U.S.", " Senate", Cut.NEVER),
    ("No.", " 5", Cut.NEVER),
    ("No.", " I", Cut.SENTENCE),
    ("approx", " five", Cut.WORD),
    ("3", " dollars", Cut.CHARACTER),
    ("3.", "14", Cut.NEVER),
    ("so...", " and", Cut.CLAUSE),
    ("so...", " And", Cut.SENTENCE),
    ("Yahoo!", " is", Cut.CLAUSE),
    ("but,", " then", Cut.CLAUSE),
    ("well -", " then", Cut.WORD),
    ("-", " then", Cut.CLAUSE),
    ("wait—", "what", Cut.CLAUSE),
    ("Hello", " !", Cut.NEVER),
    ("(", "so", Cut.NEVER),
    ("word", "word", Cut.NEVER),
    ("a line", "\nnext", Cut.CLAUSE),
    ("a title", "\n\nnext", Cut.SENTENCE),
    ("你", "好", Cut.CHARACTER),
    ("好。", "你", Cut.SENTENCE),
    ("好，", "你", Cut.CLAUSE),
    ("苹果、", "梨", Cut.WORD),
    ("用", "Python", Cut.NEVER),
    ("10：", "30", Cut.NEVER),
    ("end.", "", Cut.SENTENCE),
]


@pytest.mark.parametrize(("text", "following", "expected"), CUTS)
def test_how_welcome_a_cut_is(text: str, following: str, expected: Cut) -> None:
    assert cut_after(text, following) is expected


def test_the_first_chunk_is_short_and_the_next_ones_grow() -> None:
    text = "This is a plain sentence of some length, with a clause in its middle. " * 40
    sizes = [estimate(chunk.text) for chunk in cut(text, first=16, largest=96)]
    assert 4 <= sizes[0] <= 16
    assert sizes[1] <= 32
    assert sizes[2] <= 64
    assert sizes[1] < sizes[2] < sizes[3]
    assert min(sizes[3:-1]) >= 48


@pytest.mark.parametrize("words", range(1, 120, 7))
def test_no_tiny_tail(words: int) -> None:
    for text in ("word " * words, "啊" * words):
        sizes = [estimate(chunk.text) for chunk in cut(text)]
        assert len(sizes) == 1 or sizes[-1] >= 2


def test_a_first_chunk_waits_for_its_least_length() -> None:
    one = TextChunker(
        estimate_tokens=estimate, first_max_tokens=24, max_tokens=48, first_min_tokens=8
    )
    chunks = one.feed(
        "Yes. No. Well. I do not really know what to say. And then some more of it, I guess."
    )
    assert chunks[0].text.startswith("Yes. No. Well. I do")


def test_a_dot_waits_for_what_follows_it() -> None:
    one = chunker()
    assert one.feed("The price is about 3.") == []
    assert one.feed("14 or even more than that. It") == []
    (chunk,) = one.feed(" goes on and ")
    assert chunk.text == "The price is about 3.14 or even more than that."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello there.", True),
        ("Hello there, ", True),
        ("Hello there", False),
        ("He met Dr.", False),
        ("你好，", True),
        ("你好", False),
        ("“So it is.”", True),
        ("", False),
        ("   ", False),
    ],
)
def test_whether_the_buffer_ends_a_clause(text: str, expected: bool) -> None:
    one = chunker()
    one.feed(text)
    assert one.buffered_is_clause_end is expected


def test_the_limit_on_characters() -> None:
    one = chunker(limit_characters=10)
    one.feed("12345")
    with pytest.raises(TextTooLong):
        one.feed("678901")
    assert one.characters_in == 5
    one.feed("67890")
    assert [chunk.text for chunk in one.finish()] == ["1234567890"]


@pytest.mark.parametrize(
    "unit", ["a", "啊", " ", "\n", "。", '"(', "x ", "http://", "1,", "😀", "a. ", "́"]
)
def test_the_buffer_is_bounded_and_the_work_linear(unit: str) -> None:
    def seconds(characters: int) -> float:
        one = chunker()
        text = unit * (characters // len(unit))
        began = time.process_time()
        for character in text:
            one.feed(character)
            assert one.buffered <= 2048
        one.finish()
        return time.process_time() - began

    seconds(2_000)
    small = min(seconds(5_000) for _ in range(3))
    assert seconds(40_000) < 8 * 3 * small + 0.05


@pytest.mark.parametrize("unit", ["1", "$1,", "1你", "a,", "😀", '"(', "䷀", "[pause:", "a.b/"])
@pytest.mark.parametrize("characters_per_token", [0.3, 3.0, 30.0])
def test_no_step_weighs_much(unit: str, characters_per_token: float) -> None:
    weighed = 0

    def weigh(text: str) -> int:
        nonlocal weighed
        weighed += len(text)
        return math.ceil(len(text) / characters_per_token)

    one = TextChunker(estimate_tokens=weigh, first_max_tokens=40, max_tokens=120)
    text = (unit * 3_000)[:3_000]
    worst = 0
    for step in [*text, None]:
        weighed = 0
        one.finish() if step is None else one.feed(step)
        worst = max(worst, weighed)
    assert worst < 8_000


def test_a_word_is_not_cut_where_it_fills_a_piece() -> None:
    word = ("a," * 100)[:149]
    (chunk,) = cut(word, first=48)
    assert chunk.text == word


def test_no_chunk_is_only_space() -> None:
    for text in (" ", "\n\n", "\u3000 \t"):
        assert cut(text) == []
    assert [chunk.text for chunk in cut(" a ")] == ["a"]
    assert re.fullmatch(r"b", cut("\n\n b")[0].text)
