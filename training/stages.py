"""The stages: what each learns, from what, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.corpus import Speech, read_lines
from training.optim import Muon
from training.runner import Judge, Run, Task
from training.settings import Recipe
from training.snake import fused_snake
from training.text import Pieces, train_pieces

STYLES_EACH, REFERENCES = 40, 120
"""Recordings per speaker, and in all, whose style or features the stages learn with."""


def pieces(runs: Path) -> Pieces:
    """The text pieces of a run, trained when first asked for."""
    path = runs / "bpe.model"
    return Pieces(path if path.exists() else train_pieces(runs))


def weights(runs: Path, stage: str, prefix: str = "") -> dict[str, Tensor]:
    """What ``stage`` has learnt, of the names that start with ``prefix``, without it.

    Raises ``FileNotFoundError`` before its first checkpoint.
    """
    module: dict[str, Tensor] = torch.load(runs / f"{stage}.pt", weights_only=True)["module"]
    return {k.removeprefix(prefix): v for k, v in module.items() if k.startswith(prefix)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a stage is run, and by which recipe."""

    runs: Path
    recipe: Recipe

    def batch(self, stage: str) -> int:
        """The stage's batch."""
        return self.recipe.stages[stage].batch


def _vocoder(place: Place) -> Task:
    from training.vocoder import VocoderTask

    speech = Speech.load(place.runs)
    return VocoderTask(place.recipe.bigvgan_config(), speech, batch=place.batch("vocoder"))


def _speaker(place: Place) -> Task:
    from training.listening import SpeakerTask

    config = place.recipe.checkpoint_config(pieces(place.runs).size)
    return SpeakerTask(config, Speech.load(place.runs), batch=place.batch("speaker"))


def _encoder(place: Place) -> Task:
    from training.listening import EncoderTask

    config = place.recipe.checkpoint_config(pieces(place.runs).size)
    return EncoderTask(config, Speech.load(place.runs), batch=place.batch("encoder"))


def _s2mel(place: Place) -> Task:
    from training.acoustic import AcousticTask
    from training.listening import SpeakerTask, reference_styles

    config = place.recipe.checkpoint_config(pieces(place.runs).size)
    speech = Speech.load(place.runs)
    speaker = SpeakerTask(config, speech)
    speaker.module.load_state_dict(weights(place.runs, "speaker"))
    styles = reference_styles(speaker.encoder, speech, each=STYLES_EACH)
    return AcousticTask(config, speech, styles, frames=place.batch("s2mel"))


def _gpt(place: Place) -> Task:
    from training.language import LanguageTask, make_items
    from training.listening import EncoderTask, reference_features

    vocabulary, speech = pieces(place.runs), Speech.load(place.runs)
    config = place.recipe.checkpoint_config(vocabulary.size)
    encoder = EncoderTask(config, speech)
    encoder.module.load_state_dict(weights(place.runs, "encoder"))
    features = reference_features(encoder.w2v, speech, count=REFERENCES)
    items = make_items(read_lines(place.runs / "alignments.jsonl"), vocabulary)
    return LanguageTask(config, items, features, positions=place.batch("gpt"))


def _joint(place: Place) -> Task:
    from training.joint import joint_task

    return joint_task(
        place.runs, place.recipe, batch=place.batch("joint"), frames=place.batch("s2mel")
    )


STAGES: dict[str, Callable[[Place], Task]] = {
    "speaker": _speaker,
    "encoder": _encoder,
    "vocoder": _vocoder,
    "s2mel": _s2mel,
    "gpt": _gpt,
    "joint": _joint,
}
"""In the order in which each has what it needs."""


def train(place: Place, stage: str, judge: Judge | None = None) -> dict[str, float]:
    """Train ``stage`` from its last checkpoint; returns the last averages of its figures.

    Everything random follows from the recipe's seed and the step it resumes at.
    """
    settings = place.recipe.stages[stage]
    saved = place.runs / f"{stage}.pt"
    steps = torch.load(saved, weights_only=True)["steps"] if saved.exists() else 0
    torch.manual_seed(place.recipe.seed + list(STAGES).index(stage) + 100 * steps)
    with fused_snake(place.runs / "build"):
        task = STAGES[stage](place)
        for optimizer in task.optimizers:
            rate = settings.muon_lr if isinstance(optimizer, Muon) else settings.adam_lr
            for group in optimizer.param_groups:
                group["peak_lr"] = group["peak_lr"] if rate is None else rate
        run = Run(place.runs, stage, task, settings, judge)
        run.resume()
        return run.train()
