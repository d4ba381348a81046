"""What the GPT is taught: which letters a phone comes from, what comes next, and how fast."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from indextts.gpt.backbone import attend_causally
from training.corpus import Line
from training.emotions import HASTE, TEMPI, emotion_rows
from training.language import (
    FINAL,
    LEAD,
    TAIL,
    Item,
    Reading,
    make_items,
    rush_item,
    speak_item,
)
from training.text import Pieces, train_pieces

SPACE = 1
LINE = Line(
    text="Go on.",
    symbols="gO ɔn.",
    phones=(0, 5, 6, SPACE, 7, 8, 2, 0),
    durations=(14, 2, 3, 2, 3, 13, 6, 1),
)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Pieces:
    return Pieces(train_pieces(tmp_path_factory.mktemp("pieces")))


@pytest.fixture
def item(pieces: Pieces) -> Item:
    (made,) = make_items([LINE], pieces)
    return made


def test_phones_are_placed_at_the_letters_of_their_word(item: Item) -> None:
    # pieces: ▁ G O ▁ O N .
    assert len(item.text) == 7
    assert (np.diff(item.places) > 0).all()
    assert (item.places[:3] < 2.5).all()
    assert (item.places[3:] > 2.5).all()
    assert item.places[-1] < len(item.text)


def test_silence_around_a_text_is_short(item: Item) -> None:
    assert item.durations[0] == LEAD
    assert item.durations[-3:].tolist() == [FINAL, TAIL, 1.0]


def test_a_line_whose_words_differ_from_the_spoken_ones_has_no_places(pieces: Pieces) -> None:
    line = Line(text="A/B", symbols="A bi", phones=LINE.phones, durations=LINE.durations)
    assert make_items([line, LINE], pieces)[0].places.size
    other = Line(text="A , b", symbols=LINE.symbols, phones=LINE.phones, durations=LINE.durations)
    assert np.isnan(make_items([other, LINE], pieces)[0].places).all()


def test_a_slower_tempo_makes_more_codes(item: Item) -> None:
    counts = {
        tempo: np.mean(
            [len(speak_item(item, np.random.default_rng(i), tempo).codes) for i in range(40)]
        )
        for tempo in (0.0, max(TEMPI))
    }
    assert counts[max(TEMPI)] == pytest.approx(counts[0.0] * np.exp(max(TEMPI)), rel=0.1)


def test_in_haste_every_phone_is_one_code(item: Item) -> None:
    assert rush_item(item).codes.tolist() == [2 * phone for phone in LINE.phones]


def test_misheard_codes_differ_seldom_and_leave_the_truth_alone(item: Item) -> None:
    spoken, rng = speak_item(item, np.random.default_rng(1)), np.random.default_rng(2)
    before = spoken.codes.copy()
    shares = [(spoken.misheard(rng, 256) != before).mean() for _ in range(200)]
    assert 0.03 < np.mean(shares) < 0.2
    assert (spoken.codes == before).all()


def test_reading_equals_causal_attention_over_shared_and_own_positions() -> None:
    torch.manual_seed(0)
    rows, heads, shared, own, width = 2, 3, 4, 6, 8
    begun = [torch.randn(1, heads, shared, width) for _ in range(3)]
    further = [torch.randn(rows, heads, own, width) for _ in range(3)]
    reading = Reading(torch.ones(rows, 2, 3, dtype=torch.bool), shared)
    reading.begin(0, *begun[:3])
    found = reading(0, *further)
    whole = [
        torch.cat((b.expand(rows, -1, -1, -1), f), dim=2)
        for b, f in zip(begun, further, strict=True)
    ]
    expected = attend_causally(0, *whole)[:, :, shared:]
    torch.testing.assert_close(found, expected)


def test_each_emotion_has_a_vector_and_a_tempo() -> None:
    rows = emotion_rows(64)
    assert rows.shape == (HASTE + 1, 64)
    assert torch.equal(rows, emotion_rows(64))
    assert torch.corrcoef(rows).fill_diagonal_(0).abs().max() < 0.5


def test_readings_have_every_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wordfreq")
    from training import sentences

    source = ["The sun is warm, and the wind is cold.", "We went home.", "Is it late?"]
    for name in ("_fortunes", "_bible", "_wordnet"):
        monkeypatch.setattr(sentences, name, lambda: iter(source * 40))
    texts = list(sentences.readings(400, seed=3))
    assert max(map(len, texts)) <= sentences.LONGEST + 1
    assert {text[-1] for text in texts} >= set(".,?!") | {"e"}
    assert any(text.count(".") > 1 for text in texts)
    assert any(" " not in text for text in texts)
    assert texts == list(sentences.readings(400, seed=3))
