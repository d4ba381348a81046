"""Text that was cut inside a character: halves wait for each other, anything else is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.errors import InvalidText
from streaming.surrogates import join_text


def test_a_surrogate_pair_may_be_split_over_messages() -> None:
    body, held = join_text("", "smile \ud83d")
    assert (body, held) == ("smile ", "\ud83d")
    assert join_text(held, "\ude00!") == ("\U0001f600!", "")
    assert join_text(held, "") == ("", held)


@pytest.mark.parametrize(
    ("held", "text"),
    [("\ud83d", "x"), ("", "\ude00"), ("", "a\ud83db"), ("\ud83d", "\ud83d\ude00"), ("", "a\x00")],
)
def test_other_lone_surrogates_and_controls_are_invalid(held: str, text: str) -> None:
    with pytest.raises(InvalidText):
        join_text(held, text)


@given(st.text(), st.data())
def test_text_cut_anywhere_in_utf16_joins_again(text: str, data: st.DataObject) -> None:
    clean = "".join(c for c in text if c.isprintable() or c in "\n\t ")
    units = clean.encode("utf-16-le")
    cut = 2 * data.draw(st.integers(0, len(units) // 2))
    first = units[:cut].decode("utf-16-le", "surrogatepass")
    second = units[cut:].decode("utf-16-le", "surrogatepass")
    body, held = join_text("", first)
    rest, tail = join_text(held, second)
    assert (body + rest, tail) == (clean, "")
