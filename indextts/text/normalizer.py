"""From what a user writes to what is spoken (frontend specification, section 1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from indextts.text import repairs
from indextts.text.cuts import read_by_pieces
from indextts.text.grammar import GrammarError, read_aloud
from indextts.text.language import HAN, Language, RuleSet, check_text, language_of
from indextts.text.marks import map_marks
from indextts.text.pinyin import (
    TONED_SYLLABLE,
    TONED_SYLLABLE_COMPLETE,
    reference_spelling,
    spelling,
)
from indextts.text.shield import LetterShield, Shield

# Longest text the reference's rules give to the grammar at once; ours always go by sentences.
_WHOLE_REFERENCE: Final = 2000

_SUBJECTS: Final = "what|where|who|which|how|here|there|it|he|she|that|this"
_IS: Final = re.compile(f"({_SUBJECTS})'s", re.IGNORECASE)
_IS_WORD: Final = re.compile(f"(?<![A-Za-z])({_SUBJECTS})'s", re.IGNORECASE)

# A name ends where its run of characters ends, so a match can only begin where a run begins.
_NAME: Final = re.compile(f"(?<![{HAN}])[{HAN}]++(?:[-·—][{HAN}]++){{1,2}}")
_NAME_CHAIN: Final = re.compile(f"(?<![{HAN}])[{HAN}]++(?:[-·—][{HAN}]++)++")

_CHAIN: Final = re.compile("(?<![A-Za-z0-9])[A-Za-z0-9]++(?:-[A-Za-z0-9]++)++")
_LETTER: Final = re.compile("[A-Za-z]")
_ANNOTATION: Final = re.compile(r"<[^>|\n]{1,200}\|[^>\n]{1,200}>")

_EARLY_TAG_SPELLINGS: Final = str.maketrans("嗯呣", "恩母")


class Normalizer:
    """Reads numbers, dates, units and marks of Chinese and English text as words.

    Stateless and safe to share between threads. ``rules`` selects the behaviour (``RuleSet``).
    """

    def __init__(self, rules: RuleSet = "default") -> None:
        self.rules = rules
        self._mended = rules == "default"
        self._tech_terms = rules in ("default", "upstream25")

    def normalize(
        self,
        text: str,
        *,
        glossary: Mapping[str, str] | None = None,
        language: Language | None = None,
    ) -> str:
        """The spoken form of ``text``.

        ``glossary`` replaces terms beforehand, longest first, whatever their case. ``language``
        settles texts that show no language, such as digits alone. Raises ``InvalidText`` on lone
        surrogates.
        """
        text = check_text(text)
        annotations = Shield(text) if self.rules == "upstream25" else None
        if self.rules == "v1_5_0":
            text = text.translate(_EARLY_TAG_SPELLINGS)
        if annotations is not None:
            text = annotations.hide(text, _ANNOTATION)
        spoken_in = language_of(text, language, mended=self._mended)
        text = self._expand_is(text)
        if glossary:
            text = replace_terms(text, glossary)
        text = self._chinese(text) if spoken_in == "zh" else self._english(text)
        return text if annotations is None else annotations.reveal(text)

    def _expand_is(self, text: str) -> str:
        if not self._mended:
            return _IS.sub(r"\1 is", text)
        return _IS_WORD.sub(r"\1 is", repairs.straighten_apostrophes(text))

    def _chinese(self, text: str) -> str:
        text = text.rstrip()
        if self._mended:
            text = repairs.rewrite_numbers(text)
        shield = Shield(text)
        text, hyphen = self._hide_hyphens(text, shield)
        if self._mended:
            text = shield.hide(text, TONED_SYLLABLE_COMPLETE, spelling)
            text = shield.hide(text, _NAME_CHAIN)
            text = shield.reveal(self._read(text, "zh"))
        else:
            syllables, names = LetterShield("pinyin"), LetterShield("n")
            text = names.hide(syllables.hide(text, TONED_SYLLABLE), _NAME)
            text = names.reveal(self._read(text, "zh"))
            text = syllables.reveal(text, reference_spelling)
        return map_marks(_show_hyphens(text, hyphen), "zh")

    def _english(self, text: str) -> str:
        if self._mended:
            text = repairs.spell_hosts(text)
        text, hyphen = self._hide_hyphens(text, Shield(text))
        text = self._read(text, "en")
        return map_marks(_show_hyphens(text, hyphen), "en")

    def _hide_hyphens(self, text: str, shield: Shield) -> tuple[str, str | None]:
        if not self._tech_terms:
            return text, None
        mark = shield.mark()
        return (text, None) if mark is None else (hide_hyphens(text, mark), mark)

    def _read(self, text: str, language: Language) -> str:
        whole = 0 if self._mended else _WHOLE_REFERENCE
        return read_by_pieces(text, language, _read_or_give_up, whole=whole)


def replace_terms(text: str, glossary: Mapping[str, str]) -> str:
    """Every term of ``glossary`` in ``text`` replaced, longest first, whatever its case.

    A term is no part of a longer word or number of Latin script.
    """
    pattern, spoken = _compile_glossary(tuple(glossary.items()))
    if not spoken:
        return text
    return pattern.sub(lambda match: spoken.get(match[0].lower(), match[0]), text)


@lru_cache(maxsize=16)
def _compile_glossary(
    terms: tuple[tuple[str, str], ...],
) -> tuple[re.Pattern[str], dict[str, str]]:
    spoken = {term.lower(): check_text(value) for term, value in terms if term}
    longest_first = sorted(spoken, key=len, reverse=True)
    return re.compile("|".join(map(_whole_word, longest_first)), re.IGNORECASE), spoken


def _whole_word(term: str) -> str:
    before = r"(?<![a-z0-9])" if re.match("[a-z0-9]", term) else ""
    behind = r"(?![a-z0-9])" if re.search("[a-z0-9]$", term) else ""
    return before + re.escape(term) + behind


def hide_hyphens(text: str, mark: str) -> str:
    """Hyphens of technical terms such as ``GPT-5-nano`` replaced by ``mark``.

    A term begins at the first letter of a chain, so the hyphens of ``2025-09-08`` stay.
    """

    def hide(chain: re.Match[str]) -> str:
        letter = _LETTER.search(chain[0])
        if letter is None:
            return chain[0]
        at = letter.start()
        return chain[0][:at] + chain[0][at:].replace("-", mark)

    return _CHAIN.sub(hide, text)


def _show_hyphens(text: str, mark: str | None) -> str:
    # The grammar may have put spaces around a mark.
    if mark is None or mark not in text:
        return text
    first, *inner, last = text.split(mark)
    return "-".join([first.rstrip(), *(part.strip() for part in inner), last.lstrip()])


def _read_or_give_up(text: str, language: Language) -> str:
    # Section 1, steps 5e and 6: without a reading Chinese is dropped, English is kept.
    try:
        return read_aloud(text, language)
    except GrammarError:
        return "" if language == "zh" else text
