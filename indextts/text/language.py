"""Rule sets, the language of a text, and the one check every text has to pass."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from indextts.text.pinyin import TONED_SYLLABLE, TONED_SYLLABLE_COMPLETE
from streaming.errors import InvalidText

RuleSet: TypeAlias = Literal["default", "vllm", "upstream25", "v1_5_0"]
"""``default`` is ours; the others reproduce what was measured (frontend specification, top).

``vllm``: index-tts-vllm for 1.0, 1.5 and 2, and the first release of 2; ``v1_5_0``: upstream's tag
of that name; ``upstream25``: upstream's main after the 2.5 release.
"""

Language: TypeAlias = Literal["zh", "en"]

HAN = "\u4e00-\u9fff"

_HAN = re.compile(f"[{HAN}]")
_LATIN = re.compile("[A-Za-z]")
_ADDRESS = re.compile(r"[A-Za-z0-9]+@[A-Za-z0-9]+\.[A-Za-z]+")


def use_chinese(text: str, *, mended: bool = False) -> bool:
    """Whether the Chinese rules read ``text`` (section 1, step 2).

    ``mended``, and only then, ``A100`` in an English sentence is no pinyin.
    """
    syllable = TONED_SYLLABLE_COMPLETE if mended else TONED_SYLLABLE
    return (
        _HAN.search(text) is not None
        or _LATIN.search(text) is None
        or _ADDRESS.fullmatch(text) is not None
        or syllable.search(text) is not None
    )


def language_of(text: str, hint: Language | None = None, *, mended: bool = False) -> Language:
    """The language whose rules apply; ``hint`` settles texts that show neither Han nor Latin."""
    if hint is not None and not _HAN.search(text) and not _LATIN.search(text):
        return hint
    return "zh" if use_chinese(text, mended=mended) else "en"


def check_text(text: str) -> str:
    """Give ``text`` back, or raise ``InvalidText`` when it holds a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidText(f"lone surrogate at character {error.start}", param="text") from None
    return text
