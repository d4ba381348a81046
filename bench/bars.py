"""Figures that have to stay within bounds, and their table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A figure and what it may be at most (or at least)."""

    name: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def ok(self) -> bool:
        """Whether the bar is met."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def bar_table(title: str, bars: Iterable[Bar]) -> Table:
    """One row per bar, and whether it is met."""
    table = Table(title=title)
    for heading in ("figure", "value", "bar", ""):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for bar in bars:
        sign = ">=" if bar.at_least else "<="
        verdict = "ok" if bar.ok else "MISSED"
        table.add_row(bar.name, f"{bar.value:.3f}", f"{sign} {bar.limit:g}", verdict)
    return table
