"""``python -m indextts.parity --goldens DIR``: every golden array of the reference against our
modules.

DIR (or ``DIR/goldens``) holds a manifest.json that names the family, the salt and the tolerances,
with the family's npz files or goldens.json beside it. Exit status 1 when anything differs, is not
known, or nothing was found.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
import torch
import typer

from indextts.checks import Check
from indextts.goldens import v1, v2_gpt, v2_s2mel, v2_voice
from indextts.goldens.arrays import Arrays, GoldenContext
from indextts.text.golden import check_goldens

Checker: TypeAlias = Callable[[Arrays, GoldenContext], list[Check]]

INDEXTTS2: Mapping[str, Checker] = {
    "audio_features.npz": v2_voice.check_audio_features,
    "bigvgan.npz": v2_s2mel.check_bigvgan,
    "campplus.npz": v2_voice.check_campplus,
    "cfm.npz": v2_s2mel.check_cfm,
    "conditioning.npz": v2_gpt.check_conditioning,
    "dit.npz": v2_s2mel.check_dit,
    "emotion_matrix.npz": v2_voice.check_emotion_matrix,
    "gpt.npz": v2_gpt.check_gpt,
    "gpt_layer.npz": v2_s2mel.check_gpt_layer,
    "length_regulator.npz": v2_s2mel.check_length_regulator,
    "official_bigvgan.npz": v2_s2mel.check_official_bigvgan,
    "official_codec_lr.npz": v2_voice.check_official_codec_lr,
    "official_dit.npz": v2_s2mel.check_official_dit,
    "sampling.npz": v2_gpt.check_sampling,
    "semantic_codec.npz": v2_voice.check_semantic_codec,
    "snake.npz": v2_s2mel.check_snake,
    "w2v_bert_tiny.npz": v2_voice.check_w2v_bert,
}
"""Every file of a set of the family ``indextts2`` and who judges it."""

FAMILIES: Mapping[str, Mapping[str, Checker]] = {
    "indextts1": v1.CHECKERS,
    "indextts2": INDEXTTS2,
}

_MANIFEST = "manifest.json"


def find_sets(root: Path) -> list[Path]:
    """Folders with a manifest: ``root`` itself and ``root/goldens``."""
    return [folder for folder in (root, root / "goldens") if (folder / _MANIFEST).is_file()]


def check_set(folder: Path, official: Path | None) -> Iterator[Check]:
    """Judge one golden set, file by file."""
    manifest = _read_json(folder / _MANIFEST)
    family = manifest.get("family")
    if family == "frontend":
        model = _official_file(official, "bpe.model")
        yield from check_goldens(folder / str(manifest.get("file", "goldens.json")), model)
    elif family in FAMILIES:
        yield from _check_arrays(folder, manifest, official)
    else:
        yield _failure(str(folder / _MANIFEST), f"unknown family {family!r}")


def _check_arrays(
    folder: Path, manifest: Mapping[str, Any], official: Path | None
) -> Iterator[Check]:
    config = _read_json(folder / "tiny.json")
    checkers = FAMILIES[manifest["family"]]
    files = {path.name for path in folder.glob("*.npz")}
    for name in sorted(manifest.get("tolerance_max_abs", {}).keys() - files):
        yield replace(_failure(name, "not in this set"), informative=True)
    for name in sorted(files):
        if name not in checkers:
            yield _failure(name, "unknown file")
            continue
        ctx = GoldenContext(file=name, config=config, manifest=manifest, official=official)
        try:
            with (folder / name).open("rb") as file, torch.no_grad():
                arrays = dict(np.load(file, allow_pickle=False))
                yield from checkers[name](arrays, ctx)
        except Exception as error:  # whatever a broken file leads to, the others are judged
            yield _failure(name, f"cannot be judged: {type(error).__name__}: {error}")


def official_folder(root: Path, given: Path | None) -> Path | None:
    """Where the official small files lie: as given, beside the set, or in the environment."""
    beside, named = root / "official", os.environ.get("INDEXTTS_OFFICIAL_DIR")
    if given is not None:
        return given
    if beside.is_dir():
        return beside
    return Path(named) if named else None


def _official_file(official: Path | None, name: str) -> Path:
    if official is None or not (official / name).is_file():
        raise typer.BadParameter(f"{name} is needed: name its folder with --official")
    return official / name


def _read_json(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


def _failure(name: str, detail: str) -> Check:
    return Check(name=name, max_error=float("nan"), tolerance=0.0, ok=False, detail=detail)


def _row(check: Check) -> str:
    verdict = "info" if check.informative else "ok" if check.ok else "FAILED"
    figures = f"{check.max_error:>11.3e} {check.tolerance:>9.1e}"
    return f"{check.name:<48} {figures}  {verdict:<6} {check.detail}".rstrip()


def main(
    goldens: Annotated[Path, typer.Option(help="Folder of one golden set, or its parent.")],
    official: Annotated[
        Path | None,
        typer.Option(help="Official small files; default DIR/official or $INDEXTTS_OFFICIAL_DIR."),
    ] = None,
) -> None:
    """Compare every golden array with our modules; exit status 1 on any difference."""
    sets = find_sets(goldens)
    if not sets:
        raise typer.BadParameter(f"no {_MANIFEST} in {goldens} or its goldens folder")
    typer.echo(f"{'array':<48} {'max error':>11} {'tolerance':>9}  verdict")
    judged: list[Check] = []
    for folder in sets:
        for check in check_set(folder, official_folder(goldens, official)):
            typer.echo(_row(check))
            judged.append(check)
    verdicts = [check.ok for check in judged if not check.informative]
    passed, failed = verdicts.count(True), verdicts.count(False)
    typer.echo(f"{passed} ok, {failed} failed, {len(judged) - len(verdicts)} informative")
    if failed or not passed:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
