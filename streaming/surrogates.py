"""Text that a peer may have cut anywhere, even inside a character."""

from __future__ import annotations

import re

from streaming.errors import InvalidText

_HIGH = re.compile("[\ud800-\udbff]\\Z")
# NUL and friends: nothing a voice can say, but able to break logs, terminals and normalizers.
_GARBAGE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")


def join_text(held: str, text: str) -> tuple[str, str]:
    """``held + text`` as well-formed text, and the trailing high surrogate to hold, if any.

    JSON lets a peer cut an emoji into two escapes and two messages. Raises ``InvalidText`` for any
    other lone surrogate and for control characters.
    """
    whole = held + text
    tail = whole[-1:] if _HIGH.search(whole) else ""
    body = whole.removesuffix(tail)
    try:
        body = body.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise InvalidText("the text has a lone surrogate", param="text") from None
    if _GARBAGE.search(body):
        raise InvalidText("the text has control characters", param="text")
    return body, tail
