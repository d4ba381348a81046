"""A recipe: dimensions of a checkpoint, its data and how long each stage trains, from one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, model_validator

from indextts.v2.config import BigvganConfig, CheckpointConfig

NANO = Path(__file__).with_name("nano.yaml")
SMOKE = Path(__file__).with_name("smoke.yaml")
"""The recipe of ``make train SMOKE=1``: small in every respect."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSettings(_Section):
    """How much the teacher says: spoken ``utterances`` and ``alignments`` of texts alone.

    With the teacher ``toy`` two voices sing at random, so that a smoke test needs no packages.
    """

    teacher: str = "hibari"
    utterances: int
    alignments: int
    seed: int = 0


class StageSettings(_Section):
    """Budget and rates of a stage: ``cpu_s`` over all resumptions, or ``steps``.

    ``batch`` counts sequences; mel frames for ``s2mel``, positions for ``gpt``. The rates are held
    until the share ``hold`` of the budget is used up, then they fall. ``adam_lr`` and ``muon_lr``
    are the highest rates of the two optimisers; without them a stage has its own.
    """

    cpu_s: float | None = None
    steps: int | None = None
    batch: int
    adam_lr: float | None = None
    muon_lr: float | None = None
    warmup_steps: int = 60
    hold: float = 0.4
    max_norm: float = 1.0
    keep: float = 0.97
    save_every_s: float = 120.0
    log_every_s: float = 20.0
    judge_every_s: float | None = None

    @model_validator(mode="after")
    def _one_budget(self) -> StageSettings:
        if (self.cpu_s is None) == (self.steps is None):
            raise ValueError("a stage needs either cpu_s or steps")
        return self


class Recipe(_Section):
    """Everything a file like nano.yaml decides."""

    seed: int
    data: DataSettings
    stages: dict[str, StageSettings]
    bigvgan: dict[str, Any]
    checkpoint: dict[str, Any]

    @staticmethod
    def load(path: Path) -> Recipe:
        """The recipe in ``path``; raises ``ValueError`` that names a wrong field."""
        return Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))

    def sections(self, text_tokens: int) -> dict[str, Any]:
        """config.yaml of the checkpoint for a vocabulary of ``text_tokens`` pieces."""
        gpt = {**self.checkpoint["gpt"], "number_text_tokens": text_tokens}
        return {**self.checkpoint, "gpt": gpt}

    def checkpoint_config(self, text_tokens: int) -> CheckpointConfig:
        """The same, parsed."""
        return CheckpointConfig.model_validate(self.sections(text_tokens))

    def bigvgan_config(self) -> BigvganConfig:
        """Dimensions of the vocoder."""
        return BigvganConfig.model_validate(self.bigvgan)
