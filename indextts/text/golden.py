"""Compares the text front end with a golden set of the frontend specification's layout."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, get_args

from indextts.checks import Check
from indextts.text.frontend import TextFrontend
from indextts.text.language import RuleSet, use_chinese
from indextts.text.normalizer import Normalizer
from indextts.text.segments import split_segments
from indextts.text.tokenizer import Tokenizer

_BASE: Final = "vllm"
_CASE_FIELDS: Final = frozenset({"id", "category", "text", "use_chinese"})
# Output of the reference's debug decoder; section 4 says never to copy it.
_NOT_COMPUTED: Final = frozenset({"decoded", "decoded_lower"})
_SEGMENTATION: Final = re.compile(r"(\d+)(?:/q(\d+))?")
_INFORMATIVE: Final = ("upstream25.", "v1_5_0.", "default.")
_SHOWN: Final = 5

Case = Mapping[str, Any]


def check_goldens(goldens: Path, bpe_model: Path) -> list[Check]:
    """One row per compared field, over all cases of ``goldens``; other rule sets than ``vllm`` are
    informative.

    ``max_error`` counts the cases that differ. A field we do not know fails. Raises ``OSError``
    for missing files and ``ValueError`` for broken ones.
    """
    golden_set: Mapping[str, Any] = json.loads(goldens.read_text(encoding="utf-8"))
    cases: list[Case] = golden_set.get("cases", [])
    if not cases:
        raise ValueError(f"{goldens.name} holds no cases")
    tokenizer = Tokenizer(bpe_model)
    tally = _Tally()
    for case in cases:
        tally.add("use_chinese", case["id"], use_chinese(case["text"]) == case.get("use_chinese"))
        tally.add(f"{_BASE} block", case["id"], _BASE in case)
        for rules in get_args(RuleSet):
            if rules in case:
                frontend = TextFrontend(Normalizer(rules), tokenizer)
                _compare(tally, case, rules, _Spoken(case["text"], frontend, tokenizer))
        for unknown in case.keys() - _CASE_FIELDS - set(get_args(RuleSet)):
            tally.add(f"{unknown} (unknown)", case["id"], False)
    return [_model_row(golden_set.get("meta", {}), bpe_model), *tally.rows()]


class _Spoken:
    """Everything the front end makes of one text, by the golden set's field names."""

    def __init__(self, text: str, frontend: TextFrontend, tokenizer: Tokenizer) -> None:
        normalized, pieces = frontend.read(text)
        self.fields: dict[str, object] = {
            "normalized": normalized,
            "tokens": pieces,
            "ids": tokenizer.ids(pieces),
        }
        self.pieces = pieces


class _Tally:
    """Counts equal and differing cases of each compared field, in order of appearance."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._differing: dict[str, list[str]] = {}
        self._not_computed: set[str] = set()

    def add(self, name: str, case_id: str, equal: bool) -> None:
        """Count one comparison."""
        self._seen[name] = self._seen.get(name, 0) + 1
        differing = self._differing.setdefault(name, [])
        if not equal:
            differing.append(case_id)

    def skip(self, name: str) -> None:
        """Note a field we owe no code for."""
        self._seen[name] = self._seen.get(name, 0) + 1
        self._not_computed.add(name)

    def rows(self) -> list[Check]:
        """One row per name."""
        return [self._row(name, seen) for name, seen in self._seen.items()]

    def _row(self, name: str, seen: int) -> Check:
        if name in self._not_computed:
            return Check(
                name=name,
                max_error=float("nan"),
                tolerance=0.0,
                ok=False,
                informative=True,
                detail=f"in {seen} cases, not computed",
            )
        differing = self._differing[name]
        detail = f"{seen - len(differing)} of {seen} equal"
        if differing:
            detail += ", not " + " ".join(differing[:_SHOWN])
        return Check(
            name=name,
            max_error=float(len(differing)),
            tolerance=0.0,
            ok=not differing,
            informative=name.startswith(_INFORMATIVE),
            detail=detail,
        )


def _compare(tally: _Tally, case: Case, rules: RuleSet, spoken: _Spoken) -> None:
    # A field that a block leaves out equals the base's.
    expected = {**case.get(_BASE, {}), **case[rules]}
    for field, value in expected.items():
        name = f"{rules}.{field}"
        if field in _NOT_COMPUTED:
            tally.skip(name)
        elif field == "segments":
            if field in case[rules]:
                _compare_segments(tally, case, rules, spoken.pieces)
        elif field in spoken.fields:
            tally.add(name, case["id"], spoken.fields[field] == value)
        else:
            tally.add(f"{name} (unknown)", case["id"], False)


def _compare_segments(tally: _Tally, case: Case, rules: RuleSet, pieces: list[str]) -> None:
    for setting, segments in case[rules]["segments"].items():
        name = f"{rules}.segments.{setting}"
        parsed = _SEGMENTATION.fullmatch(setting)
        if parsed is None:
            tally.add(f"{name} (unknown)", case["id"], False)
            continue
        ours = split_segments(pieces, int(parsed[1]), rules, quick_tokens=int(parsed[2] or 0))
        tally.add(name, case["id"], ours == segments)


def _model_row(meta: Mapping[str, Any], bpe_model: Path) -> Check:
    digest = sha256(bpe_model.read_bytes()).hexdigest()
    equal = meta.get("bpe_model_sha256", digest) == digest
    return Check(
        name="bpe.model",
        max_error=float(not equal),
        tolerance=0.0,
        ok=equal,
        informative=True,
        detail=f"sha256 {digest}",
    )
