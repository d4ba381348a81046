"""The loop all stages share: budget, schedule, log, checkpoints, resuming after a kill."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from training.optim import schedule, set_rates, state_of
from training.progress import Progress
from training.settings import StageSettings


class Task(Protocol):
    """One thing to train."""

    module: nn.Module
    optimizers: list[torch.optim.Optimizer]

    def loss(self, progress: float) -> tuple[Tensor, Mapping[str, float]]:
        """Loss of the next batch and figures for the log; ``progress`` runs from 0 to 1."""
        ...


Judge = Callable[[], Mapping[str, float]]
"""Scores of the whole chain with what has been saved; nothing while it cannot speak yet."""


class Averages:
    """Exponential averages of the figures of a log."""

    def __init__(self, keep: float) -> None:
        self._keep = keep
        self.values: dict[str, float] = {}

    def add(self, figures: Mapping[str, float]) -> None:
        """Blend ``figures`` in."""
        for name, value in figures.items():
            old = self.values.get(name, value)
            self.values[name] = self._keep * old + (1 - self._keep) * value


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a log; a last one that a kill cut short is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class Run:
    """A stage in the folder ``runs``: its checkpoint ``stage.pt`` and its log ``stage.jsonl``."""

    def __init__(
        self,
        runs: Path,
        stage: str,
        task: Task,
        settings: StageSettings,
        judge: Judge | None = None,
    ) -> None:
        self._stage, self._task, self._settings, self._judge = stage, task, settings, judge
        self._file, self._log = runs / f"{stage}.pt", runs / f"{stage}.jsonl"
        self._steps, self._used_s, self._stop = 0, 0.0, False
        self._written = -1
        self._averages = Averages(settings.keep)
        runs.mkdir(parents=True, exist_ok=True)

    @property
    def progress(self) -> float:
        """Share of the budget that is used up, from 0 to 1."""
        settings = self._settings
        used = self._used_s / settings.cpu_s if settings.cpu_s else 0.0
        return min(1.0, self._steps / settings.steps if settings.steps else used)

    def resume(self) -> None:
        """Go on from the checkpoint if there is one; the log forgets what came after it."""
        if self._file.exists():
            saved = torch.load(self._file, weights_only=True)
            self._task.module.load_state_dict(saved["module"])
            for optimizer, state in zip(self._task.optimizers, saved["optimizers"], strict=True):
                optimizer.load_state_dict(state)
            self._steps, self._used_s = saved["steps"], saved["used_s"]
            self._averages.values = saved.get("averages", {})
        kept = [row for row in read_log(self._log) if row["steps"] <= self._steps]
        part = self._log.with_suffix(".log.part")
        part.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        part.rename(self._log)

    def save(self) -> None:
        """Replace the checkpoint."""
        state = {
            "module": self._task.module.state_dict(),
            "optimizers": state_of(self._task.optimizers),
            "steps": self._steps,
            "used_s": self._used_s,
            "averages": self._averages.values,
        }
        part = self._file.with_suffix(".part")
        torch.save(state, part)
        part.rename(self._file)

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    def train(self) -> dict[str, float]:
        """Train until the budget is used up or SIGTERM comes; returns the last averages."""
        if self.progress >= 1:
            return self._averages.values
        previous = signal.signal(signal.SIGTERM, self._ask_to_stop)
        self._task.module.train()
        try:
            with Progress(self._stage) as progress:
                self._loop(progress)
        finally:
            self._task.module.eval()
            signal.signal(signal.SIGTERM, previous)
        return self._averages.values

    def _loop(self, progress: Progress) -> None:
        settings = self._settings
        logged = saved = judged = time.monotonic()
        clock = time.process_time()
        while not self._stop and self.progress < 1:
            self._averages.add(self._step())
            now, last_clock = time.process_time(), clock
            clock, self._used_s = now, self._used_s + now - last_clock
            progress.show(self.progress, self._averages.values)
            if self._steps <= 2 or time.monotonic() - logged > settings.log_every_s:
                logged = time.monotonic()
                self._write(self._averages.values)
            if time.monotonic() - saved > settings.save_every_s:
                saved = time.monotonic()
                self.save()
                if settings.judge_every_s and saved - judged > settings.judge_every_s:
                    judged = saved
                    self._have_judged()
                    clock = time.process_time()
        if self._written < self._steps:
            self._write(self._averages.values)
        self.save()

    def _have_judged(self) -> None:
        if self._judge is not None and (scores := self._judge()):
            self._write({f"judge_{name}": value for name, value in scores.items()})

    def _step(self) -> Mapping[str, float]:
        settings, optimizers = self._settings, self._task.optimizers
        progress = self.progress
        rates = schedule(
            self._steps, progress, warmup_steps=settings.warmup_steps, hold=settings.hold
        )
        set_rates(optimizers, rates)
        loss, figures = self._task.loss(progress)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self._task.module.parameters(), settings.max_norm)
        if torch.isfinite(norm):
            for optimizer in optimizers:
                optimizer.step()
        self._steps += 1
        return {**figures, "norm": float(norm)}

    def _write(self, figures: Mapping[str, float]) -> None:
        self._written = self._steps
        row: dict[str, Any] = {
            "steps": self._steps,
            "used_s": round(self._used_s, 1),
            **{name: round(value, 4) for name, value in figures.items()},
        }
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
