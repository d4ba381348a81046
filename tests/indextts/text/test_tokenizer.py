from __future__ import annotations

from pathlib import Path

import pytest

from indextts.text.tokenizer import Tokenizer
from streaming.errors import InvalidText


def test_path_and_bytes_give_the_same_tokenizer(tiny_model: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bpe.model"
    path.write_bytes(tiny_model)
    text = "你好, World!"
    assert Tokenizer(path).encode(text) == Tokenizer(tiny_model).encode(text)
    assert Tokenizer(str(path)).vocabulary_size == Tokenizer(tiny_model).vocabulary_size


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sentencepiece"):
        Tokenizer(b"\x00 this is not a model")
    with pytest.raises(FileNotFoundError):
        Tokenizer(tmp_path / "missing.model")


def test_east_asian_characters_stand_alone(tiny_tokenizer: Tokenizer) -> None:
    assert tiny_tokenizer.pieces("你好") == tiny_tokenizer.pieces(" 你  好 ")
    assert tiny_tokenizer.pieces("你好") != tiny_tokenizer.raw_pieces("你好")
    assert "".join(tiny_tokenizer.pieces("ab你cd")).split("▁") == ["", "AB", "你", "CD"]


def test_ids_are_looked_up_piece_by_piece(tiny_tokenizer: Tokenizer) -> None:
    pieces = tiny_tokenizer.pieces("the quick 好 fox")
    assert tiny_tokenizer.ids(pieces) == tiny_tokenizer.encode("the quick 好 fox")
    assert tiny_tokenizer.ids(["no such piece"]) == [tiny_tokenizer.unknown_id]


@pytest.mark.parametrize("text", ["", " ", "\n\t\u3000"])
def test_blank_text_has_no_pieces(tiny_tokenizer: Tokenizer, text: str) -> None:
    assert tiny_tokenizer.pieces(text) == []


def test_a_lower_case_vocabulary_gets_lower_case(character_tokenizer: Tokenizer) -> None:
    pieces = character_tokenizer.pieces("The FOX")
    assert pieces == ["▁", "t", "h", "e", "▁", "f", "o", "x"]
    assert character_tokenizer.unknown_id == 2
    assert character_tokenizer.count_unknown(character_tokenizer.ids(pieces)) == 0


def test_unknown_characters_are_counted_and_can_be_folded(tiny_model: bytes) -> None:
    plain, folding = Tokenizer(tiny_model), Tokenizer(tiny_model, fold_unknown=True)
    text = "caṕ 好 ☂"
    assert plain.count_unknown(plain.encode(text)) == 2
    assert folding.count_unknown(folding.encode(text)) == 1
    assert folding.pieces("cap") == plain.pieces("cap") == folding.pieces("caṕ")


def test_lone_surrogates_are_refused(tiny_tokenizer: Tokenizer) -> None:
    for split in (tiny_tokenizer.pieces, tiny_tokenizer.raw_pieces):
        with pytest.raises(InvalidText):
            split("a\ud800b")


@pytest.mark.official
def test_the_official_vocabulary(official_tokenizer: Tokenizer) -> None:
    assert official_tokenizer.vocabulary_size == 12_000
    assert official_tokenizer.encode("你好，") == [10201, 208, 10201, 1260, 10202]
    assert official_tokenizer.unknown_id not in official_tokenizer.ids(["NVE4", "EN4", "QVN2"])
