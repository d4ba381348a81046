"""Pauses in a text: told from text however it is split, bounded, never spoken."""

from __future__ import annotations

import itertools
import random

import pytest

from streaming.chunks import TextChunk, TextChunker
from streaming.pauses import LONGEST_PAUSE_MS, MOST_PAUSES_MS, Pause, PauseScanner
from streaming.pipeline import SpeechPipeline
from tests.fakes import Tone, ToneModel
from tests.streaming.contexts import REQUEST, VOICE


def chunker() -> TextChunker:
    return TextChunker(
        estimate_tokens=lambda text: len(text) // 4, first_max_tokens=16, max_tokens=64
    )


def chunks(text: str, *cuts: int) -> list[TextChunk]:
    one = chunker()
    given: list[TextChunk] = []
    edges = [0, *sorted(cuts), len(text)]
    for start, end in itertools.pairwise(edges):
        given += one.feed(text[start:end])
    assert one.characters_in == len(text)
    return given + one.finish()


def spoken(text: str) -> list[tuple[int, str, int]]:
    return [(c.pause_before_ms, c.text, c.pause_after_ms) for c in chunks(text)]


@pytest.mark.parametrize(
    ("markup", "duration_ms"),
    [
        ("[pause:0.5s]", 500),
        ("[pause:250ms]", 250),
        ("[PAUSE: 1.25 S]", 1250),
        ("[pause:2]", 2000),
        ("[pause=.5s]", 500),
        ("[pause]", 500),
        ('<break time="500ms"/>', 500),
        ("<break time='1.5s' />", 1500),
        ('<break strength="weak" time="40ms">', 40),
        ("<Break/>", 500),
        ("</break>", 0),
        ("[pause:999s]", LONGEST_PAUSE_MS),
        ("[pause:later]", 500),
    ],
)
def test_what_is_a_pause(markup: str, duration_ms: int) -> None:
    assert spoken(f"Hello. {markup} World.") == [(0, "Hello.", duration_ms), (0, "World.", 0)]


@pytest.mark.parametrize(
    "text",
    ["[paused]", "<breakfast>", "a < b > c", "[pau", "[pause:" + "1" * 80 + "]", "[pause:1\ns]"],
)
def test_what_is_none(text: str) -> None:
    assert sum(chunk.text.count("[") + chunk.text.count("<") for chunk in chunks(text)) == 1
    assert not any(chunk.pause_before_ms or chunk.pause_after_ms for chunk in chunks(text))


def test_nested_openings() -> None:
    assert spoken("[[pause:1s]") == [(0, "[", 1000)]
    assert spoken("[pause:[pause:1s]") == [(0, "[pause:", 1000)]


def test_pauses_add_up_and_stand_before_the_first_chunk() -> None:
    assert spoken("[pause:1s][pause:1s]Hi [pause:1s] [pause:2s] you") == [
        (2000, "Hi", 1000),
        (2000, "you", 0),
    ]
    assert spoken("[pause:9s][pause:9s]Hi")[0][0] == LONGEST_PAUSE_MS
    assert chunks("[pause:1s]") == []


def test_offsets_count_the_markup() -> None:
    text = "Hello.[pause:1s]World."
    first, second = chunks(text)
    assert text[first.start : first.end] == "Hello."
    assert text[second.start : second.end] == "World."


def test_the_pauses_of_a_text_are_bounded() -> None:
    pauses = [c.pause_after_ms for c in chunks("Hi.[pause:10s]" * 40)]
    assert sum(pauses) == MOST_PAUSES_MS
    assert pauses[-1] == 0


def test_any_split_gives_the_same() -> None:
    chance = random.Random(5)
    pieces = ["Hello there. ", "[pause:1s]", "<break time='20ms'/>", "[", "<br", "pause:", "]"]
    for _ in range(300):
        text = "".join(chance.choices(pieces, k=8))
        cuts = [chance.randrange(len(text) + 1) for _ in range(chance.randrange(6))]
        assert chunks(text, *cuts) == chunks(text)


def test_a_flush_ends_what_might_have_become_a_pause() -> None:
    one = chunker()
    assert one.feed("Hello [pau") == []
    assert [chunk.text for chunk in one.flush()] == ["Hello [pau"]
    assert [chunk.text for chunk in one.feed("se:1s] you") + one.finish()] == ["se:1s] you"]


def test_what_is_held_is_bounded() -> None:
    scanner, held = PauseScanner(), 0
    for character in "[pause:" * 3 + "[pause:" + " " * 1000 + "]" + "<" * 100:
        assert not any(isinstance(item, Pause) for item in scanner.feed(character))
        held = max(held, len(scanner.held))
    assert held <= 64


async def test_a_pause_is_silence_of_that_length() -> None:
    async def samples(text: str) -> int:
        pipeline = SpeechPipeline[Tone](ToneModel())
        total = 0
        async for event in pipeline.speak_text(REQUEST, VOICE, text):
            total = getattr(event, "samples", 0)
        pipeline.close()
        return total

    rate_hz = ToneModel().info.sample_rate_hz
    plain = await samples("Hello[pause:0ms]World")
    assert await samples("Hello[pause:1.5s]World") - plain == round(1.5 * rate_hz)
    assert await samples("[pause:1s]Hello[pause:0ms]World") - plain == rate_hz
    assert await samples("Hello[pause:0ms]World[pause:2s]") - plain == 2 * rate_hz
