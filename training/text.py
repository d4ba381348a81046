"""Characters as sentencepiece pieces, and what the teacher's words are in them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

SOURCE = "▁ABCDEFGHIJKLMNOPQRSTUVWXYZ',.?!-"
"""The pieces, after ``<s>``, ``</s>`` and ``<unk>``; ``▁`` begins a word."""


def train_pieces(folder: Path) -> Path:
    """Write ``bpe.model``, one piece per character of ``SOURCE``, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "bpe.model"
    rows = iter([" ".join(SOURCE[1:])] * 40)
    model = io.BytesIO()  # a file would have its own name inside
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=rows,
        model_writer=model,
        model_type="char",
        vocab_size=len(SOURCE) + 3,
        character_coverage=1.0,
        bos_id=0,
        eos_id=1,
        unk_id=2,
        pad_id=-1,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    target.write_bytes(model.getvalue())
    return target


class Pieces:
    """The trained pieces."""

    def __init__(self, path: Path) -> None:
        self._model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.size: int = self._model.get_piece_size()
        self._space = self._model.piece_to_id("▁")

    def ids(self, text: str) -> list[int]:
        """Pieces of ``text`` in upper case."""
        found: list[int] = self._model.encode(text.upper())
        return found

    def words(self, ids: Iterable[int]) -> list[int]:
        """Number of the word that each piece belongs to, from 0."""
        number, numbers = -1, []
        for piece in ids:
            number += piece == self._space
            numbers.append(max(number, 0))
        return numbers
