"""Where text may be cut.

Characters become pieces (a word with its punctuation, one wide character with its punctuation);
between two pieces a cut is more or less welcome (``Cut``). Everything depends on the characters in
their order, never on how they were split over calls.
"""

from __future__ import annotations

import re
from enum import IntEnum


class Cut(IntEnum):
    """How welcome a cut is at a place in the text.

    ``NEVER`` is inside a word, a number, a name with its title: only when nothing else fits. The
    quoted ones are inside a pair of quotes or brackets: only when the pair is too long.
    """

    NEVER = 0
    CHARACTER = 1
    QUOTED_WORD = 2
    QUOTED_CLAUSE = 3
    QUOTED_SENTENCE = 4
    WORD = 5
    CLAUSE = 6
    SENTENCE = 7


_QUOTED = {
    Cut.WORD: Cut.QUOTED_WORD,
    Cut.CLAUSE: Cut.QUOTED_CLAUSE,
    Cut.SENTENCE: Cut.QUOTED_SENTENCE,
}
_PAIRS = dict(zip("([{“‘「『（【《〈［｛", ")]}”’」』）】》〉］｝", strict=True))
_CLOSERS = frozenset(_PAIRS.values())
_SENTENCE_END = frozenset(".!?。！？｡…")
_CLAUSE_END = frozenset(",;:，；：—､")
_MARKS = frozenset(".,;:!?")
_WIDE_MARKS = frozenset("。！？｡…，；：—､、”’」』）】》〉］｝")
_OPENING = "".join(_PAIRS) + "\"'*_"
_DECORATION = "".join(_CLOSERS) + "\"'*_"
_TITLES = re.compile(
    r"mr|mrs|ms|mx|dr|prof|st|mt|rev|hon|gen|col|capt|lt|sgt|gov|sen|rep|pres|messrs|e\.g|i\.e|cf"
    r"|al|vs|approx|ca|figs|eq|jan|feb|apr|jun|jul|aug|sept|oct|nov|dec"
)
_ENDINGS = re.compile(r"etc|inc|ltd|co|corp|bros|jr|sr|dept|ave|blvd|rd|ph\.d|a\.m|p\.m")
_BEFORE_NUMBER = re.compile(r"nos?|pp?|vol|fig|ch|sec|art")
_INITIALS = re.compile(r"(?:[a-z]\.)+")
_LIST_MARK = re.compile(r"[-*•]|[(（]?\d{1,3}[.)）、]+")

LONGEST_PIECE = 64
_LONGEST_SPACE = 32
_LONGEST_PAIR = 300
"""Bounds on what hostile text can make one piece hold, in characters."""


def cut_after(text: str, following: str) -> Cut:
    """How welcome a cut is after ``text`` when ``following`` (spaces included) comes next."""
    after = following.lstrip()[:1]
    space = following[: len(following) - len(following.lstrip())]
    core = text.rstrip().rstrip(_DECORATION) or text.rstrip()
    mark = core[-1:]
    if mark in _PAIRS or after in _MARKS or after in _CLOSERS:
        return Cut.NEVER
    if not space and after.isdigit() and core[-2:-1].isdigit() and mark in "，．：,.:—":
        return Cut.NEVER
    if space.count("\n") > 1:
        return Cut.SENTENCE
    cut = _after_mark(core, space, after)
    return max(cut, Cut.CLAUSE) if "\n" in space else cut


def _after_mark(core: str, space: str, after: str) -> Cut:
    mark = core[-1:]
    if mark == ".":
        return _after_dot(core, space, after)
    if mark in _SENTENCE_END:
        return Cut.CLAUSE if after.islower() else Cut.SENTENCE
    if mark in _CLAUSE_END or not core.strip("-–"):
        return Cut.CLAUSE
    if mark == "、" or (space and not mark.isdigit()):
        return Cut.WORD
    return Cut.CHARACTER if space or (is_wide(mark) and is_wide(after)) else Cut.NEVER


def _after_dot(core: str, space: str, after: str) -> Cut:
    """A dot ends a sentence, an abbreviation or neither."""
    word = core.split()[-1].lstrip(_OPENING).lower()
    bare = word.rstrip(".")
    if after and not space and not is_wide(after):
        return Cut.NEVER
    if _TITLES.fullmatch(bare):
        return Cut.NEVER
    if _INITIALS.fullmatch(word) and not _ENDINGS.fullmatch(bare):
        return Cut.NEVER
    if _BEFORE_NUMBER.fullmatch(bare) and after.isdigit():
        return Cut.NEVER
    if _ENDINGS.fullmatch(bare) or after.islower():
        return Cut.CLAUSE if word.endswith("..") else Cut.WORD
    return Cut.SENTENCE


def is_wide(character: str) -> bool:
    """Whether its script is written without spaces; full-width letters and digits are not."""
    return bool(character) and (
        "\u2e80" <= character <= "\ua4cf"
        or "\uf900" <= character <= "\ufaff"
        or "\ufe30" <= character <= "\ufe4f"
        or ("\uff01" <= character <= "\uff65" and not character.isalnum())
        or "\uff66" <= character <= "\uff9f"
        or "\U00020000" <= character <= "\U0003ffff"
        or character in _WIDE_MARKS
    )


class Piece:
    """What is never cut unless it must be; ``cut`` tells how welcome a cut behind it is."""

    __slots__ = ("cut", "space", "start", "text", "tokens")

    def __init__(self, text: str, start: int) -> None:
        self.text = text
        self.start = start
        self.space = ""
        self.tokens = 0.0
        self.cut = Cut.NEVER

    def split(self, size: int) -> tuple[Piece, Piece]:
        """Its first ``size`` characters, and the rest."""
        left, right = (
            Piece(self.text[:size], self.start),
            Piece(self.text[size:], self.start + size),
        )
        right.space, right.cut = self.space, self.cut
        return left, right


def joined(pieces: list[Piece]) -> str:
    """The text of neighbours."""
    return "".join(piece.text + piece.space for piece in pieces).rstrip()


def _is_torn(piece: Piece, following: str) -> bool:
    """Whether a word goes on behind a piece that is full."""
    full = len(piece.text) >= LONGEST_PIECE and not piece.space
    return full and not (is_wide(piece.text[-1]) or is_wide(following))


class Lexer:
    """Characters into pieces; a piece is ready once the next one begins."""

    def __init__(self) -> None:
        self.ready: list[Piece] = []
        self.offset = 0
        self._run: list[str] = []
        self._last: Piece | None = None
        self._pairs: list[tuple[str, int]] = []
        self._line_starts = True

    @property
    def open_text(self) -> str:
        """What is not ready yet."""
        last = self._last
        return (last.text + last.space if last else "") + "".join(self._run)

    def feed(self, character: str) -> None:
        """Take one character."""
        if character.isspace():
            self._close_run()
            if self._last and len(self._last.space) < _LONGEST_SPACE:
                self._last.space += character
        elif is_wide(character):
            self._close_run()
            if not (character in _WIDE_MARKS and self._glue(character)):
                self._begin(character, self.offset)
        else:
            self._run.append(character)
        self.offset += 1
        if len(self._run) >= LONGEST_PIECE:
            self._close_run()

    def skip(self, characters: int) -> None:
        """Leave out characters of the text that are not to be spoken."""
        self.offset += characters

    def close(self) -> None:
        """Make everything ready: nothing follows for now."""
        self._close_run()
        self._release("")

    def _close_run(self) -> None:
        run = "".join(self._run)
        self._run.clear()
        start = self.offset - len(run)
        while run and self._last and is_wide(self._last.text[-1]) and self._glue(run[0]):
            run, start = run[1:], start + 1
        if run:
            self._begin(run, start)

    def _glue(self, mark: str) -> bool:
        """Add a mark to the piece right before it."""
        closes = mark in _CLOSERS or (mark == '"' and self._inside('"'))
        last = self._last
        if last is None or last.space or len(last.text) >= LONGEST_PIECE:
            return False
        if not (closes or mark in _MARKS or mark in _WIDE_MARKS):
            return False
        last.text += mark
        self._track(mark, opens=False)
        return True

    def _begin(self, text: str, start: int) -> None:
        self._release(text[0])
        self._last = Piece(text, start)
        opens = True
        for character in text:
            self._track(character, opens=opens)
            opens = opens and (character in _PAIRS or character == '"')

    def _release(self, following: str) -> None:
        last, self._last = self._last, None
        if last is None:
            return
        last.cut = cut_after(last.text, last.space + following)
        if following and _is_torn(last, following):
            last.cut = Cut.NEVER
        if self._line_starts and _LIST_MARK.fullmatch(last.text):
            last.cut = Cut.NEVER
        if last.space.count("\n") > 1:
            self._pairs.clear()
        if self._pairs and last.start - self._pairs[0][1] > _LONGEST_PAIR:
            del self._pairs[0]
        if self._pairs:
            last.cut = _QUOTED.get(last.cut, last.cut)
        self._line_starts = last.cut >= Cut.SENTENCE or "\n" in last.space
        self.ready.append(last)

    def _inside(self, closer: str) -> bool:
        return bool(self._pairs) and self._pairs[-1][0] == closer

    def _track(self, character: str, *, opens: bool) -> None:
        if self._inside(character):
            self._pairs.pop()
        elif len(self._pairs) < 8 and (character in _PAIRS or (character == '"' and opens)):
            self._pairs.append((_PAIRS.get(character, '"'), self.offset))
