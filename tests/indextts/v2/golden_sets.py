"""Our copies of the golden sets, and modules filled with reproducible lively weights."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from indextts.v2.golden import GoldenContext, filled

GOLDENS = Path(__file__).parents[2] / "goldens" / "indextts2"
REFERENCE = Path(__file__).parents[3] / "../shared/reference/indextts2/official"

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def golden(
    file: str, official: Path | None = None
) -> tuple[dict[str, NDArray[Any]], GoldenContext]:
    with np.load(GOLDENS / file) as data:
        arrays = dict(data)
    config, manifest = (
        json.loads((GOLDENS / name).read_text("utf-8")) for name in ("tiny.json", "manifest.json")
    )
    return arrays, GoldenContext(file=file, config=config, manifest=manifest, official=official)


def official_folder() -> Path:
    """Folder of the official small files; skips where there is none."""
    folder = Path(os.environ.get("INDEXTTS_OFFICIAL_DIR", REFERENCE))
    if not (folder / "config.yaml").is_file():
        pytest.skip("the official small files are not here; set INDEXTTS_OFFICIAL_DIR")
    return folder


def tiny_config() -> dict[str, Any]:
    config: dict[str, Any] = json.loads((GOLDENS / "tiny.json").read_text("utf-8"))
    return config


def lively(part: str, module: ModuleT, salt: str = "test") -> ModuleT:
    """``module`` with weights that keep signals near unit size."""
    module.load_state_dict(filled(part, module, part, salt))
    return module.eval()
