"""Rewrites that keep the grammars from their known mistakes (frontend specification, 1 and 3.5)."""

from __future__ import annotations

import re
from typing import Final

from indextts.text.language import HAN

_CURLY: Final = re.compile("(?<=[A-Za-z])’(?=[A-Za-z])")
_GROUPED: Final = re.compile(r"(?<![0-9,.])[0-9]{1,3}(?:,[0-9]{3})++(?![0-9,])")
_MONTH_FIRST: Final = re.compile(
    r"(?<![0-9/.])(0?[1-9]|1[0-2])/(0?[1-9]|[12][0-9]|3[01])/([0-9]{4})(?![0-9/.])"
)
_SECOND: Final = re.compile(f"第2(?=[{HAN}])")
_HOST: Final = re.compile(r"(?<![\w.@/])www(?:\.[A-Za-z0-9-]{1,63}){2,8}", re.IGNORECASE)


def straighten_apostrophes(text: str) -> str:
    """A curly apostrophe between letters is written straight, so that contractions are found."""
    return _CURLY.sub("'", text)


def rewrite_numbers(text: str) -> str:
    """Chinese: ``1,234`` without separators, ``12/25/2022`` year first, ``第2`` as 第二."""
    text = _GROUPED.sub(lambda match: match[0].replace(",", ""), text)
    text = _MONTH_FIRST.sub(r"\3/\1/\2", text)
    return _SECOND.sub("第二", text)


def spell_hosts(text: str) -> str:
    """English: ``www.mysite.org`` as ``www dot mysite dot org``, which the grammar garbles."""
    return _HOST.sub(lambda match: match[0].replace(".", " dot "), text)
