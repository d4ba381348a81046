from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indextts.text import grammar as module
from indextts.text.grammar import Grammar, GrammarError, TaggedToken, grammar, parse_tokens
from indextts.text.language import Language

names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
values = st.text(max_size=20).map(lambda text: text.replace("\\", "\\\\").replace('"', '\\"'))


@given(st.lists(st.tuples(names, st.dictionaries(names, values, max_size=4)), max_size=5))
def test_tokens_survive_a_round_trip(tokens: list[tuple[str, dict[str, str]]]) -> None:
    written = [TaggedToken(name=name, fields=fields) for name, fields in tokens]
    text = " ".join(token.ordered(None) for token in written)
    assert list(parse_tokens(text)) == written


@pytest.mark.parametrize(
    ("fields", "ordered"),
    [
        ({"value": "三", "denominator": "每"}, 'm { denominator: "每" value: "三" }'),
        ({"value": "三", "era": "x"}, 'm { value: "三" }'),
        (
            {"value": "三", "denominator": "每", "preserve_order": "true"},
            'm { value: "三" denominator: "每" preserve_order: "true" }',
        ),
    ],
)
def test_fields_are_put_into_speaking_order(fields: Mapping[str, str], ordered: str) -> None:
    assert TaggedToken(name="m", fields=fields).ordered(("denominator", "value")) == ordered


@pytest.mark.parametrize("tagged", ["x", "a {", 'a { b: "c', 'a { b: "c" } }', 'a { b: "\\" }'])
def test_malformed_tags_are_refused(tagged: str) -> None:
    with pytest.raises(GrammarError):
        list(parse_tokens(tagged))


def test_a_text_without_reading_is_an_error() -> None:
    assert grammar("en").read("") == ""
    with pytest.raises(GrammarError):
        grammar("en").read("\0")


def test_a_grammar_is_loaded_once_for_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Language] = []

    class Counted(Grammar):
        def __init__(self, language: Language) -> None:
            loads.append(language)
            super().__init__(language)

    monkeypatch.setattr(module, "Grammar", Counted)
    monkeypatch.setattr(module, "_loaded", {})
    start = Barrier(4)

    def read(_: int) -> str:
        start.wait()
        return grammar("zh").read("第3名")

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(read, range(4))) == {"第三名"}
    assert loads == ["zh"]
