"""The parity command judges what it finds and never passes by finding nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from indextts import parity
from indextts.fill import fill

SHARED = Path(__file__).parents[2] / "../shared/reference"
app = typer.Typer()
app.command()(parity.main)


def invoke(goldens: Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["--goldens", str(goldens)])
    return result.exit_code, result.output


def write_set(folder: Path, salt: str, error: float = 0.0, **manifest: Any) -> Path:
    """A set of the family at sizes and with a salt of its own: gpt_layer.npz alone."""
    widths = (8, 256, 128, 7)
    x = np.random.default_rng(3).standard_normal((1, 4, widths[0]), np.float32)
    y = x
    for layer, (rows, columns) in enumerate(zip(widths[1:], widths[:-1], strict=True)):
        prefix = f"s2mel/gpt_layer/{layer}"
        weight = fill(f"{prefix}.weight", (rows, columns), salt)
        y = y @ weight.T + fill(f"{prefix}.bias", (rows,), salt)
    folder.mkdir(parents=True)
    np.savez(folder / "gpt_layer.npz", x=x, y=(y + error).astype(np.float32))
    (folder / "tiny.json").write_text(json.dumps({}))
    described = {
        "family": "indextts2",
        "salt": salt,
        "tolerance_max_abs": {"gpt_layer.npz": {"*": 1e-4}},
        **manifest,
    }
    (folder / "manifest.json").write_text(json.dumps(described))
    return folder


def test_another_set_passes_and_a_wrong_value_fails(tmp_path: Path) -> None:
    assert invoke(write_set(tmp_path / "good" / "goldens", "pepper").parent)[0] == 0
    code, output = invoke(write_set(tmp_path / "bad", "pepper", error=1e-3))
    assert code == 1 and "FAILED" in output and "1 failed" in output


def test_the_salt_matters(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", "pepper")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "salt": "other"}))
    assert invoke(folder)[0] == 1


def test_an_unknown_array_fails(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", "pepper")
    arrays = dict(np.load(folder / "gpt_layer.npz"))
    np.savez(folder / "gpt_layer.npz", **arrays, surprise=np.zeros(3, np.float32))
    code, output = invoke(folder)
    assert code == 1 and "surprise" in output and "unknown array" in output


def test_a_set_without_its_inputs_fails(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", "pepper")
    np.savez(folder / "gpt_layer.npz", y=np.zeros((1, 4, 7), np.float32))
    code, output = invoke(folder)
    assert code == 1 and "cannot be judged" in output


def test_an_unknown_file_or_family_fails(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", "pepper")
    np.savez(folder / "brand_new.npz", x=np.zeros(1))
    code, output = invoke(folder)
    assert code == 1 and "unknown file" in output
    other = write_set(tmp_path / "other", "pepper", family="indextts9")
    code, output = invoke(other)
    assert code == 1 and "unknown family" in output


def test_a_set_may_leave_files_out_but_not_all(tmp_path: Path) -> None:
    tolerances = {name: {"*": 1e-4} for name in ("gpt_layer.npz", "gpt.npz")}
    folder = write_set(tmp_path / "set", "pepper", tolerance_max_abs=tolerances)
    code, output = invoke(folder)
    assert code == 0 and "gpt.npz" in output and "not in this set" in output
    (folder / "gpt_layer.npz").unlink()
    assert invoke(folder)[0] == 1


def test_a_broken_file_fails_and_the_others_are_judged(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", "pepper")
    (folder / "dit.npz").write_bytes(b"PK\x03\x04 not an archive")
    code, output = invoke(folder)
    assert code == 1 and "dit.npz" in output and "cannot be judged" in output
    assert "1 ok, 1 failed" in output


def test_nothing_found_is_an_error(tmp_path: Path) -> None:
    code, output = invoke(tmp_path)
    assert code != 0 and "manifest.json" in output


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("family", ["indextts1", "indextts2", "frontend"])
def test_the_reference_agrees(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (SHARED / family).is_dir():
        pytest.skip(f"the reference set {family} is not beside this checkout")
    official = SHARED / "indextts2" / "official"
    monkeypatch.setenv("INDEXTTS_OFFICIAL_DIR", str(official))
    code, output = invoke(SHARED / family)
    assert code == 0, output
    assert " 0 failed" in output
