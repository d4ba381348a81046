"""Pauses written into a text: ``[pause:0.5s]`` and ``<break time="500ms"/>`` (SSML 1.1, 3.2.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST_PAUSE_MS = 10_000
"""What one pause is cut down to."""

MOST_PAUSES_MS = 300_000
"""All pauses of a text together; those beyond it are cuts and nothing else."""

PAUSE_MS = 500
"""A pause that does not say how long it is."""

_LONGEST_MARKUP = 64
_OPENINGS = {"[pause": ":= ]", "<break": " />", "</break": " >"}
"""How a pause begins, and what may come next."""

_TIME = re.compile(r"(?:\[pause\s*[:= ]|time\s*=)\s*[\"']?(\d+\.?\d*|\.\d+)\s*(ms|s)?", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A pause and how many characters of the text it takes."""

    duration_ms: int
    characters: int


class PauseScanner:
    """Tells pauses from text, a character at a time; ``held`` may still become a pause."""

    def __init__(self) -> None:
        self.held = ""
        self._left_ms = MOST_PAUSES_MS

    def feed(self, character: str) -> list[str | Pause]:
        """The characters and pauses that are certain now."""
        if not self.held and character not in "[<":
            return [character]
        self.held += character
        certain: list[str | Pause] = []
        while self.held and not _may_be_pause(self.held):
            certain.append(self.held[0])
            self.held = self.held[1:]
        if self.held[-1:] in (">", "]"):
            duration_ms = min(self._left_ms, _duration_ms(self.held))
            self._left_ms -= duration_ms
            certain.append(Pause(duration_ms=duration_ms, characters=len(self.release())))
        return certain

    def release(self) -> str:
        """What was held; nothing that follows makes it a pause any more."""
        held, self.held = self.held, ""
        return held


def _may_be_pause(text: str) -> bool:
    lower = text.lower()
    for opening, following in _OPENINGS.items():
        if opening.startswith(lower):
            return True
        if lower.startswith(opening) and lower[len(opening)] in following:
            closer = "]" if opening[0] == "[" else ">"
            inside = text[len(opening) : -1] if text[-1] == closer else text[len(opening) :]
            return len(text) <= _LONGEST_MARKUP and not re.search(r"[\[\]<>\n]", inside)
    return False


def _duration_ms(markup: str) -> int:
    if markup.startswith("</"):
        return 0
    if (time := _TIME.search(markup)) is None:
        return PAUSE_MS
    scale = 1 if (time[2] or "s").lower() == "ms" else 1000
    return round(min(LONGEST_PAUSE_MS, float(time[1]) * scale))
