"""Cuts a text into pieces that the grammar can read one by one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from indextts.text.language import Language

_LONGEST: Final = 400

# Places where no reading of the grammars reaches across: a date, a time or an abbreviation with
# its number never spans the end of a sentence. English cuts want a plain lower-case word before
# the mark and a capital after one space, because quotes and abbreviations change their spacing.
_ENDS: Final[Mapping[Language, re.Pattern[str]]] = {
    "zh": re.compile(r"(?<=[。！？；])"),
    "en": re.compile(r"(?<=[a-z]{2}[.!?]) (?=[A-Z])"),
}
_GLUE: Final[Mapping[Language, str]] = {"zh": "", "en": " "}
_WEAK_END: Final[Mapping[Language, re.Pattern[str]]] = {
    "zh": re.compile(r".*[\s，、：,]", re.DOTALL),
    "en": re.compile(r".*\s", re.DOTALL),
}


def read_by_pieces(
    text: str, language: Language, read: Callable[[str, Language], str], *, whole: int
) -> str:
    """``read`` applied to a text of at most ``whole`` characters, or to its sentences.

    A sentence of more than 400 characters is cut again, at white space or a comma if it has one.
    """
    if len(text) <= whole:
        return read(text, language)
    sentences = _ENDS[language].split(text)
    return _GLUE[language].join(
        "".join(_read_long(sentence, language, read)) for sentence in sentences
    )


def _read_long(
    sentence: str, language: Language, read: Callable[[str, Language], str]
) -> Iterator[str]:
    at = 0
    while len(sentence) - at > _LONGEST:
        found = _WEAK_END[language].match(sentence, at, at + _LONGEST)
        end = at + _LONGEST if found is None else found.end()
        yield read(sentence[at:end], language)
        if found is not None:
            yield _GLUE[language]
        at = end
    yield read(sentence[at:], language)
