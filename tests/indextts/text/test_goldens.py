from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from indextts.checks import Check
from indextts.text.golden import check_goldens
from indextts.text.normalizer import Normalizer

Case = dict[str, Any]


@pytest.mark.official
def test_every_case_of_the_golden_set_is_equal(goldens: Path, official_model: Path) -> None:
    rows = {row.name: row for row in check_goldens(goldens, official_model)}
    compared = [row for row in rows.values() if row.max_error == row.max_error]
    assert [row for row in compared if not row.ok] == []
    assert rows["vllm.normalized"].detail == "202 of 202 equal"
    assert rows["vllm.segments.120"].detail == "202 of 202 equal"
    assert not rows["vllm.ids"].informative
    assert rows["upstream25.segments.120/q20"].informative


def changed(goldens: Path, folder: Path, **changes: Any) -> Path:
    golden_set = json.loads(goldens.read_text(encoding="utf-8"))
    golden_set["cases"] = golden_set["cases"][20:22]
    golden_set["cases"][0]["vllm"].update(changes)
    path = folder / "goldens.json"
    path.write_text(json.dumps(golden_set), encoding="utf-8")
    return path


def failed(rows: list[Check]) -> set[str]:
    return {row.name for row in rows if not row.ok and not row.informative}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"normalized": "x"}, "vllm.normalized"),
        ({"ids": [1]}, "vllm.ids"),
        ({"segments": {"33": [["x"]]}}, "vllm.segments.33"),
        ({"segments": {"33/z": []}}, "vllm.segments.33/z (unknown)"),
        ({"phones": []}, "vllm.phones (unknown)"),
    ],
)
def test_a_wrong_or_unknown_field_fails(
    goldens: Path, tmp_path: Path, official_model: Path, changes: dict[str, Any], name: str
) -> None:
    rows = check_goldens(changed(goldens, tmp_path, **changes), official_model)
    assert failed(rows) == {name}


def test_a_smaller_vocabulary_fails_on_tokens_but_not_on_text(
    goldens: Path, tmp_path: Path, tiny_model: bytes
) -> None:
    path = tmp_path / "bpe.model"
    path.write_bytes(tiny_model)
    rows = check_goldens(changed(goldens, tmp_path), path)
    assert {"vllm.tokens", "vllm.ids"} <= failed(rows)
    assert "vllm.normalized" not in failed(rows)
    assert not next(row for row in rows if row.name == "bpe.model").ok


def test_a_set_without_cases_or_blocks_cannot_pass(
    goldens: Path, tmp_path: Path, tiny_model: bytes
) -> None:
    model = tmp_path / "bpe.model"
    model.write_bytes(tiny_model)
    path = tmp_path / "goldens.json"
    path.write_text('{"cases": []}', encoding="utf-8")
    with pytest.raises(ValueError, match="no cases"):
        check_goldens(path, model)
    path.write_text('{"cases": [{"id": "p0", "text": "a"}]}', encoding="utf-8")
    assert failed(check_goldens(path, model)) == {"use_chinese", "vllm block"}


@pytest.mark.parametrize("rules", ["vllm", "upstream25", "v1_5_0"])
def test_normalized_text_equals_the_reference(cases: list[Case], rules: Any) -> None:
    normalizer = Normalizer(rules)
    differing = [
        case["id"]
        for case in cases
        if normalizer.normalize(case["text"])
        != case.get(rules, {}).get("normalized", case["vllm"]["normalized"])
    ]
    assert differing == []
