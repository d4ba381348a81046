"""The punctuation marks the models know (frontend specification, section 1.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from indextts.text.language import Language

# Tried in this order, first one wins: "，，，" is three commas unless the grammar made it ",,,".
_MARKS: Final = {
    **dict.fromkeys("：；;，", ","),
    **{"。": ".", "！": "!", "？": "?", "\n": " ", "·": "-", "、": ","},
    **dict.fromkeys(("...", ",,,", "，，，", "……"), "…"),
    **dict.fromkeys('“”"‘’（）()《》【】[]「」', "'"),
    **dict.fromkeys("—～~", "-"),
    ":": ",",
}
_MARKS_ZH: Final = {"$": ".", **_MARKS}


def _alternation(marks: Mapping[str, str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, marks)))


_MARK_PATTERNS: Final[Mapping[Language, re.Pattern[str]]] = {
    "zh": _alternation(_MARKS_ZH),
    "en": _alternation(_MARKS),
}


def map_marks(text: str, language: Language) -> str:
    """Every mark written as the models know it; one pass, first alternative wins."""
    marks = _MARKS_ZH if language == "zh" else _MARKS
    return _MARK_PATTERNS[language].sub(lambda match: marks[match[0]], text)
