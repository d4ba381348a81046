"""The golden sets of conditioning, decoding and sampling, and the judge itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from indextts.checks import Check
from indextts.goldens.arrays import Arrays, GoldenContext
from indextts.goldens.v2_gpt import check_conditioning, check_gpt, check_sampling

GOLDENS = Path(__file__).parents[2] / "goldens" / "indextts2"

Checker = Callable[[Arrays, GoldenContext], list[Check]]
SETS: list[tuple[str, Checker]] = [
    ("conditioning.npz", check_conditioning),
    ("gpt.npz", check_gpt),
    ("sampling.npz", check_sampling),
]


def golden(file: str) -> tuple[dict[str, NDArray[Any]], GoldenContext]:
    with np.load(GOLDENS / file) as data:
        arrays = dict(data)
    config, manifest = (
        json.loads((GOLDENS / name).read_text("utf-8")) for name in ("tiny.json", "manifest.json")
    )
    return arrays, GoldenContext(file=file, config=config, manifest=manifest)


@pytest.mark.parametrize(("file", "check"), SETS)
def test_every_array_is_within_tolerance(file: str, check: Checker) -> None:
    checks = check(*golden(file))
    assert [one for one in checks if not one.ok] == []
    assert any(not one.informative for one in checks)


@pytest.mark.parametrize(("file", "check"), SETS)
def test_an_unknown_array_fails(file: str, check: Checker) -> None:
    arrays, context = golden(file)
    arrays["surprise"] = np.zeros(3, np.float32)
    assert [one.name for one in check(arrays, context) if not one.ok] == [f"{file}:surprise"]


@pytest.mark.parametrize(
    ("file", "check", "name"),
    [
        ("conditioning.npz", check_conditioning, "conf_block0"),
        ("conditioning.npz", check_conditioning, "batch_mask"),
        ("gpt.npz", check_gpt, "A_tokens"),
        ("gpt.npz", check_gpt, "A_hidden"),
        ("sampling.npz", check_sampling, "probs_t0.8_raw"),
    ],
)
def test_a_changed_array_fails(file: str, check: Checker, name: str) -> None:
    arrays, context = golden(file)
    changed = arrays[name].copy()
    changed.flat[-1] = 1 - changed.flat[-1]
    arrays[name] = changed
    assert [one.name for one in check(arrays, context) if not one.ok] == [f"{file}:{name}"]


def test_another_salt_gives_other_weights() -> None:
    arrays, context = golden("gpt.npz")
    salted = GoldenContext(
        file=context.file, config=context.config, manifest={**context.manifest, "salt": "other"}
    )
    failed = {one.name for one in check_gpt(arrays, salted) if not one.ok}
    assert "gpt.npz:A_logits" in failed


def test_numbers_in_names_are_parsed() -> None:
    arrays, context = golden("conditioning.npz")
    own, other = arrays["emovec_spk"], arrays["emovec_emo"]
    arrays["emovec_merged_a0.25"] = own + np.float32(0.25) * (other - own)
    arrays["emovec_merged_a0.75"] = own
    failed = [one.name for one in check_conditioning(arrays, context) if not one.ok]
    assert failed == ["conditioning.npz:emovec_merged_a0.75"]


def test_a_set_without_batches_is_fine() -> None:
    arrays, context = golden("conditioning.npz")
    alone = {name: array for name, array in arrays.items() if not name.startswith("batch_")}
    assert all(one.ok for one in check_conditioning(alone, context))
