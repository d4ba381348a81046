"""Stand-ins that carry parts of a text unchanged through the grammar (section 1.4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain

_PRIVATE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))
_MOST_LETTERS = 1000


class Shield:
    """Hides matches behind private-use characters that the text itself does not hold.

    Matches are replaced span by span from left to right, so nothing depends on what contains what
    and nothing a user writes can be mistaken for a stand-in. Once all 137,000 characters are taken
    further matches stay unhidden.
    """

    def __init__(self, text: str) -> None:
        taken = set(text)
        self._free: Iterator[str] = (
            chr(code) for code in chain(*_PRIVATE) if chr(code) not in taken
        )
        self._hidden: dict[str, str] = {}

    def hide(
        self, text: str, pattern: re.Pattern[str], spelling: Callable[[str], str] = str
    ) -> str:
        """Hide every match; ``spelling`` of the match is what will be revealed."""

        def stand_in(match: re.Match[str]) -> str:
            mark = next(self._free, None)
            if mark is None:
                return match[0]
            self._hidden[mark] = spelling(match[0])
            return mark

        return pattern.sub(stand_in, text)

    def mark(self) -> str | None:
        """A private-use character that is not in the text, or ``None`` when all are taken."""
        return next(self._free, None)

    def reveal(self, text: str) -> str:
        """Put back everything that was hidden."""
        return text.translate({ord(mark): shown for mark, shown in self._hidden.items()})


class LetterShield:
    """Hides matches as the reference does: ``<kind_a>``, ``<kind_b>`` and so on, one per item.

    User text that holds such a placeholder is rewritten, and after 26 items the letters run into
    punctuation: that is what the reference does.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._placeholders: dict[str, str] = {}

    def hide(self, text: str, pattern: re.Pattern[str]) -> str:
        """Hide every match; equal matches share a placeholder, items past a bound stay."""

        def placeholder(match: re.Match[str]) -> str:
            item = match[0]
            if item not in self._placeholders:
                if len(self._placeholders) == _MOST_LETTERS:
                    return item
                letter = chr(ord("a") + len(self._placeholders))
                self._placeholders[item] = f"<{self._kind}_{letter}>"
            return self._placeholders[item]

        return pattern.sub(placeholder, text)

    def reveal(self, text: str, spelling: Callable[[str], str] = str) -> str:
        """Put back everything that was hidden."""
        for item, placeholder in self._placeholders.items():
            text = text.replace(placeholder, spelling(item))
        return text
