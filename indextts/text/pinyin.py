"""Pinyin syllables with a tone digit, and their spelling in the vocabulary (section 1.2)."""

from __future__ import annotations

import re
from typing import Final

_FINALS: Final = (
    "a e i o u ü v ai ei ao ou ia ie iu iao ua ui uo uai ue üe ve an en in un vn ang eng ing ong "
    "ian iang iong uan uang üan üang van vang"
)


def _toned(finals: str, tone: str) -> re.Pattern[str]:
    # The tone digit that must follow makes the order of the alternatives irrelevant.
    final = "|".join(finals.split())
    initial = "(?:[zcs]h|[bpmfdtnlgkhjqxzcsryw])?"
    return re.compile(rf"(?<![a-z])(?:{initial}(?:{final})|ng|er){tone}", re.IGNORECASE)


TONED_SYLLABLE: Final = _toned(_FINALS, "[1-5]")
"""A syllable with its tone, as the reference finds it."""

TONED_SYLLABLE_COMPLETE: Final = _toned(_FINALS + " ün", "[1-5](?![0-9])")
"""The same with the final ``ün``, which the reference forgets, and not in ``A100``: a syllable has
one tone.
"""


def reference_spelling(syllable: str) -> str:
    """After j, q, x: upper case and V for u and ü; every other syllable stays as it is."""
    if syllable[0] not in "jqxJQX":
        return syllable
    return (syllable[0] + re.sub("[uüUÜ]", "v", syllable[1]) + syllable[2:]).upper()


def vocabulary_spelling(syllable: str) -> str:
    """The syllable as the vocabulary writes it: ``nüe4`` -> ``NVE4``, ``ju4`` -> ``JV4``.

    ``lue4`` and ``nue4`` can only mean üe; ``ng`` has no piece and sounds like ``en``.
    """
    upper = syllable.upper()
    if upper.startswith("NG"):
        return "EN" + upper[2:]
    upper = re.sub("^Y[ÜV]", "YU", upper)
    upper = re.sub("^([JQX])U", r"\1V", upper)
    upper = re.sub("^([NL])UE", r"\1VE", upper)
    return upper.replace("Ü", "V")


def spelling(syllable: str) -> str:
    """``vocabulary_spelling`` where it is more than a matter of case, else the reference's."""
    corrected = vocabulary_spelling(syllable)
    return reference_spelling(syllable) if corrected == syllable.upper() else corrected
