"""From spoken text to vocabulary pieces and their ids (frontend specification, section 4)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from os import PathLike, fspath
from typing import Final

import sentencepiece

from indextts.text.language import check_text

WORD_START: Final = "▁"

# East Asian characters that each stand alone, as ranges of section 4.
_ALONE: Final = re.compile(
    "([\u1100-\u11ff\u2e80-\ua4cf\ua840-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff65-\uffdc"
    "\U00020000-\U0002ffff])"
)
_CASED: Final = re.compile("[A-Za-z]")


class Tokenizer:
    """Splits text into pieces with any sentencepiece model; safe to share between threads.

    ``model`` is the path of the model or its bytes. Text is written in the case the vocabulary
    knows (upper case in the official one). With ``fold_unknown`` an accented letter that is not in
    the vocabulary is read as its base letter; the reference leaves it unknown. Raises ``OSError``
    when the file cannot be read and ``ValueError`` when it is no sentencepiece model.
    """

    def __init__(self, model: str | PathLike[str] | bytes, *, fold_unknown: bool = False) -> None:
        if not isinstance(model, bytes):
            with open(fspath(model), "rb") as file:
                model = file.read()
        self._model = sentencepiece.SentencePieceProcessor()
        try:
            self._model.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise ValueError("not a sentencepiece model") from error
        self.vocabulary_size: int = self._model.get_piece_size()
        self.unknown_id: int = self._model.unk_id()
        self._fold_unknown = fold_unknown
        self._lower_case = self._knows_only_lower_case()

    def _knows_only_lower_case(self) -> bool:
        letters = "".join(
            self._model.id_to_piece(piece)
            for piece in range(self.vocabulary_size)
            if not (self._model.is_control(piece) or self._model.is_unknown(piece))
        )
        return _CASED.search(letters) is not None and letters == letters.lower()

    def pieces(self, text: str) -> list[str]:
        """Pieces of normalized ``text``; raises ``InvalidText`` on lone surrogates."""
        parts = (part.strip() for part in _ALONE.split(check_text(text)))
        spaced = " ".join(self._cased(part) for part in parts if part)
        pieces = self._encode(spaced)
        if self._fold_unknown and self.count_unknown(self.ids(pieces)):
            return self._encode("".join(map(self._folded, spaced)))
        return pieces

    def raw_pieces(self, text: str) -> list[str]:
        """Pieces of ``text`` as it is: neither split nor put into the vocabulary's case."""
        return self._encode(check_text(text))

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """The id of each piece, looked up one by one; unknown ones get ``unknown_id``."""
        return [self._model.piece_to_id(piece) for piece in pieces]

    def encode(self, text: str) -> list[int]:
        """Ids of normalized ``text``."""
        return self.ids(self.pieces(text))

    def count_unknown(self, ids: Sequence[int]) -> int:
        """How many of ``ids`` are the unknown piece."""
        return sum(piece == self.unknown_id for piece in ids)

    def _encode(self, text: str) -> list[str]:
        pieces: list[str] = self._model.encode(text, out_type=str) if text else []
        return pieces

    def _cased(self, text: str) -> str:
        return text.lower() if self._lower_case else text.upper()

    def _folded(self, character: str) -> str:
        if character.isascii() or not self.count_unknown(self.ids(self._encode(character))):
            return character
        bare = "".join(
            part
            for part in unicodedata.normalize("NFKD", character)
            if not unicodedata.combining(part)
        )
        return self._cased(bare)
