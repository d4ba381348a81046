"""The loop all stages share: budget, schedule, log, checkpoints, resuming after a kill."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from training.optim import schedule, set_rates, state_of


class Task(Protocol):
    """One thing to train."""

    module: nn.Module
    optimizers: list[torch.optim.Optimizer]

    def loss(self, progress: float) -> tuple[Tensor, Mapping[str, float]]:
        """Loss of the next batch and figures for the log; ``progress`` runs from 0 to 1."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How long to train and how often to speak about it."""

    cpu_s: float
    save_every_s: float = 120.0
    log_every_s: float = 20.0
    warmup_steps: int = 60
    hold: float = 0.4
    max_norm: float = 1.0
    max_steps: int | None = None
    keep: float = 0.97
    """Share of the old average in the figures of the log."""


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


class Run:
    """A stage in the folder ``runs``: its checkpoint ``stage.pt`` and its log ``stage.jsonl``."""

    def __init__(self, runs: Path, stage: str, task: Task, budget: Budget) -> None:
        self._file, self._log = runs / f"{stage}.pt", runs / f"{stage}.jsonl"
        self._task, self._budget = task, budget
        self._steps, self._used_s, self._stop = 0, 0.0, False
        runs.mkdir(parents=True, exist_ok=True)

    def resume(self) -> None:
        """Go on from the checkpoint if there is one."""
        if not self._file.exists():
            return
        saved = torch.load(self._file, weights_only=True)
        self._task.module.load_state_dict(saved["module"])
        for optimizer, state in zip(self._task.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self._steps, self._used_s = saved["steps"], saved["used_s"]

    def save(self) -> None:
        """Replace the checkpoint."""
        state = {
            "module": self._task.module.state_dict(),
            "optimizers": state_of(self._task.optimizers),
            "steps": self._steps,
            "used_s": self._used_s,
        }
        part = self._file.with_suffix(".part")
        torch.save(state, part)
        part.rename(self._file)

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    def train(self) -> dict[str, float]:
        """Train until the budget is used up or SIGTERM comes; returns the last averages."""
        previous = signal.signal(signal.SIGTERM, self._ask_to_stop)
        averages, budget = Averages(self._budget.keep), self._budget
        logged = saved = time.monotonic()
        clock = time.process_time()
        self._task.module.train()
        while not self._stop and self._used_s < budget.cpu_s:
            averages.add(self._step(self._used_s / budget.cpu_s))
            now, last_clock = time.process_time(), clock
            clock, self._used_s = now, self._used_s + now - last_clock
            if time.monotonic() - logged > budget.log_every_s:
                logged = time.monotonic()
                self._write(averages.values)
            if time.monotonic() - saved > budget.save_every_s:
                saved = time.monotonic()
                self.save()
            if budget.max_steps is not None and self._steps >= budget.max_steps:
                break
        self._task.module.eval()
        self._write(averages.values)
        self.save()
        signal.signal(signal.SIGTERM, previous)
        return averages.values

    def _step(self, progress: float) -> Mapping[str, float]:
        budget, optimizers = self._budget, self._task.optimizers
        share = schedule(self._steps, progress, warmup_steps=budget.warmup_steps, hold=budget.hold)
        set_rates(optimizers, share)
        loss, figures = self._task.loss(progress)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self._task.module.parameters(), budget.max_norm)
        if torch.isfinite(norm):
            for optimizer in optimizers:
                optimizer.step()
        self._steps += 1
        return {**figures, "norm": float(norm)}

    def _write(self, figures: Mapping[str, float]) -> None:
        row: dict[str, Any] = {
            "steps": self._steps,
            "used_s": round(self._used_s, 1),
            "left_s": round(self._budget.cpu_s - self._used_s, 1),
            **{name: round(value, 4) for name, value in figures.items()},
        }
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)
