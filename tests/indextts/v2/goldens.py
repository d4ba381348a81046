"""The public golden sets, as the parity command hands them to a checker."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indextts.checks import Check
from indextts.goldens.arrays import Arrays, GoldenContext

GOLDENS = Path(__file__).parents[2] / "goldens" / "indextts2"
OFFICIAL = Path(
    os.environ.get(
        "INDEXTTS_OFFICIAL_DIR",
        Path(__file__).parents[3] / ".." / "shared" / "reference" / "indextts2" / "official",
    )
)


def golden_arrays(file: str) -> dict[str, Any]:
    with np.load(GOLDENS / file) as arrays:
        return dict(arrays)


def golden_context(file: str, *, official: Path | None = None, **manifest: Any) -> GoldenContext:
    config, stored = (
        json.loads((GOLDENS / name).read_text("utf-8")) for name in ("tiny.json", "manifest.json")
    )
    return GoldenContext(
        file=file, config=config, manifest={**stored, **manifest}, official=official
    )


def official_folder() -> Path:
    """The folder of the small official files; skips the test where there is none."""
    if not OFFICIAL.is_dir():
        pytest.skip("needs the official small checkpoint files (INDEXTTS_OFFICIAL_DIR)")
    return OFFICIAL


def failures(checks: list[Check]) -> dict[str, Check]:
    return {check.name.partition(":")[2]: check for check in checks if not check.ok}


def with_unknown(arrays: Arrays) -> Mapping[str, Any]:
    return {**arrays, "surprise": np.zeros(3, np.float32)}
