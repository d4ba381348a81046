"""How far a stage is: a bar on a terminal, plain lines elsewhere, both with the time left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

LINE_EVERY_S = 20.0


def words(seconds: float) -> str:
    """A duration as one reads it."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


class Progress:
    """Shows the progress of one stage while it is open."""

    def __init__(self, stage: str, console: Console | None = None) -> None:
        self._stage, self._console = stage, console or Console()
        self._began_s = self._told_s = time.monotonic()
        self._from: float | None = None
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[figures]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(stage, total=1.0, figures="")

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, share: float, figures: Mapping[str, float]) -> None:
        """``share`` of the work is done, from 0 to 1."""
        if self._from is None:
            self._from, self._began_s = share, time.monotonic()
        now_s, done = time.monotonic(), share - self._from
        left = words((now_s - self._began_s) * (1 - share) / done) if done > 0 else "?"
        text = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
        told = f"{text}  left {left}"
        self._bar.update(self._task, completed=share, figures=told)
        if not self._console.is_terminal and (now_s - self._told_s > LINE_EVERY_S or share >= 1):
            self._told_s = now_s
            self._console.print(f"{self._stage} {share:.0%}  {told}", soft_wrap=True)
