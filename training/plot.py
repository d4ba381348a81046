"""Stage ``plot``: every log as a picture, losses and judge scores over CPU time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.runner import read_log

JUDGED = "judge_"
UNPLOTTED = frozenset({"steps", "used_s"})


def curves(rows: list[dict[str, Any]]) -> dict[str, tuple[list[float], list[float]]]:
    """Name of each figure -> CPU seconds and values."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name not in UNPLOTTED:
                seconds, values = found.setdefault(name, ([], []))
                seconds.append(row["used_s"])
                values.append(value)
    return found


def plot(runs: Path) -> list[Path]:
    """Draw ``runs/STAGE.jsonl`` into ``runs/plots/STAGE.png``; returns the pictures."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder, pictures = runs / "plots", []
    folder.mkdir(parents=True, exist_ok=True)
    for log in sorted(runs.glob("*.jsonl")):
        rows = [row for row in read_log(log) if "used_s" in row]
        if not rows:
            continue
        drawn = curves(rows)
        figure, axes = pyplot.subplots(
            len(drawn), 1, sharex=True, figsize=(9, 1.8 * len(drawn)), squeeze=False
        )
        for axis, (name, (seconds, values)) in zip(axes[:, 0], sorted(drawn.items()), strict=True):
            axis.plot(seconds, values, marker="o" if name.startswith(JUDGED) else "")
            axis.set_ylabel(name)
            axis.grid(True)
        axes[-1, 0].set_xlabel("CPU seconds")
        figure.suptitle(log.stem)
        figure.tight_layout()
        pictures.append(folder / f"{log.stem}.png")
        figure.savefig(pictures[-1], dpi=90)
        pyplot.close(figure)
    return pictures
