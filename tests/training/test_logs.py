"""What a run tells: progress in lines, figures over time, pictures."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from training.plot import curves, plot
from training.progress import Progress, words
from training.runner import Averages, read_log

ROWS = [
    {"steps": 1, "used_s": 0.5, "loss": 3.0},
    {"steps": 9, "used_s": 4.0, "loss": 2.0},
    {"steps": 9, "used_s": 4.0, "judge_wer": 0.4},
]


@pytest.mark.parametrize(
    ("seconds", "told"), [(5, "0 min 5 s"), (185, "3 min 5 s"), (7380, "2 h 3 min")]
)
def test_durations_are_readable(seconds: float, told: str) -> None:
    assert words(seconds) == told


def test_without_a_terminal_progress_is_plain_lines() -> None:
    out = io.StringIO()
    with Progress("gpt", Console(file=out, width=200)) as progress:
        progress.show(0.0, {"loss": 3.0})
        progress.show(1.0, {"loss": 2.0})
    assert out.getvalue() == "gpt 100%  loss 2.000  left 0 min 0 s\n"


def test_on_a_terminal_there_is_a_bar_with_the_time_left() -> None:
    out = io.StringIO()
    with Progress("gpt", Console(file=out, width=200, force_terminal=True)) as progress:
        progress.show(0.0, {"loss": 3.0})
        progress.show(0.5, {"loss": 2.0})
    assert "50 %" in out.getvalue() and "left 0 min" in out.getvalue()


def test_averages_begin_with_the_first_value() -> None:
    averages = Averages(keep=0.5)
    averages.add({"loss": 4.0})
    averages.add({"loss": 2.0, "norm": 1.0})
    assert averages.values == {"loss": 3.0, "norm": 1.0}


def test_a_line_that_was_cut_short_ends_the_log(tmp_path: Path) -> None:
    log = tmp_path / "gpt.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in ROWS) + '{"steps": 1')
    assert read_log(log) == ROWS
    assert read_log(tmp_path / "none.jsonl") == []


def test_curves_hold_losses_and_judge_scores() -> None:
    assert curves(ROWS) == {"loss": ([0.5, 4.0], [3.0, 2.0]), "judge_wer": ([4.0], [0.4])}


@pytest.mark.filterwarnings("default")
def test_logs_become_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="training/requirements.txt has it")
    (tmp_path / "gpt.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "speech.jsonl").write_text('{"text": "a corpus is no log"}\n')
    [picture] = plot(tmp_path)
    assert picture.name == "gpt.png" and picture.read_bytes().startswith(b"\x89PNG")
