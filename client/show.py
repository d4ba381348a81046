"""What the command line prints: tables for people, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from client.http import Voice
from client.speaking import Report


def report_json(report: Report, output: str | None) -> str:
    """One line with every number of a report."""
    fields: dict[str, Any] = asdict(report)
    metrics = fields.pop("metrics")
    return json.dumps({**metrics, **fields, "output": output})


def error_json(code: str, message: str) -> str:
    """One line with an error."""
    return json.dumps({"error": {"code": code, "message": message}})


def voices_json(voices: Sequence[Voice]) -> str:
    """One line with all voices."""
    return json.dumps({"voices": [asdict(voice) for voice in voices]})


def report_table(report: Report, output: str | None) -> Table:
    """The numbers a listener cares about."""
    metrics = report.metrics
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    rows = [
        ("time to first audio", _number(metrics.first_audio_ms, "ms", 0)),
        ("audio", _number(metrics.audio_s, "s", 2)),
        ("real-time factor", _number(metrics.rtf, "", 3)),
        ("gaps", str(metrics.gaps)),
        ("longest gap", _number(metrics.longest_gap_ms, "ms", 0)),
    ]
    server_rtf = report.server.get("rtf")
    if isinstance(server_rtf, int | float):
        rows.insert(3, ("real-time factor (server)", _number(server_rtf, "", 3)))
    if report.underruns is not None:
        rows.append(("underruns while playing", str(report.underruns)))
    if report.cancelled:
        heard = "" if report.heard_text_end is None else f", {report.heard_text_end} characters"
        rows.append(("stopped", f"yes{heard}"))
    if output is not None and report.samples:
        rows.append(("written to", output))
    for name, value in rows:
        table.add_row(name, Text(value))
    return table


def voices_table(voices: Sequence[Voice]) -> Table:
    """Who can speak, and why some cannot."""
    table = Table(box=None, pad_edge=False)
    for column in ("voice", "language", "description"):
        table.add_column(column)
    for voice in voices:
        about = voice.description
        if voice.unavailable is not None:
            about = f"not available: {voice.unavailable}"
        table.add_row(Text(voice.id), Text(voice.language or ""), Text(about))
    return table


def consoles(*, to_stderr: bool) -> tuple[Console, Console]:
    """Where results and where notes go."""
    notes = Console(stderr=True, highlight=False)
    return (notes if to_stderr else Console(highlight=False)), notes


def _number(value: float | None, unit: str, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f} {unit}".rstrip()
