"""Command line of the stages; each goes on from its last checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from training.corpus import Speech, read_lines
from training.runner import Budget, Run, Task
from training.settings import bigvgan_config, checkpoint_config
from training.snake import fused_snake
from training.text import Pieces, train_pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A thing to train: how to make its task, and its usual budget."""

    task: Callable[[Path, bool], Task]
    cpu_s: float
    hold: float = 0.4
    max_norm: float = 1.0


def pieces(runs: Path) -> Pieces:
    """The text pieces of a run, trained when first asked for."""
    path = runs / "bpe.model"
    return Pieces(path if path.exists() else train_pieces(runs))


def weights(runs: Path, stage: str) -> dict[str, Tensor]:
    """What ``stage`` has learnt; raises ``FileNotFoundError`` before its first checkpoint."""
    module: dict[str, Tensor] = torch.load(runs / f"{stage}.pt", weights_only=True)["module"]
    return module


def _vocoder(runs: Path, smoke: bool) -> Task:
    from training.vocoder import VocoderTask

    return VocoderTask(bigvgan_config(), Speech.load(runs), batch=1 if smoke else 4)


def _speaker(runs: Path, smoke: bool) -> Task:
    from training.listening import SpeakerTask

    config = checkpoint_config(pieces(runs).size)
    return SpeakerTask(config, Speech.load(runs), batch=8 if smoke else 24)


def _encoder(runs: Path, smoke: bool) -> Task:
    from training.listening import EncoderTask

    config = checkpoint_config(pieces(runs).size)
    return EncoderTask(config, Speech.load(runs), batch=4 if smoke else 16)


def _acoustic(runs: Path, smoke: bool) -> Task:
    from training.acoustic import AcousticTask
    from training.listening import SpeakerTask, reference_styles

    config, speech = checkpoint_config(pieces(runs).size), Speech.load(runs)
    speaker = SpeakerTask(config, speech)
    speaker.module.load_state_dict(weights(runs, "speaker"))
    styles = reference_styles(speaker.encoder, speech, each=2 if smoke else 40)
    return AcousticTask(config, speech, styles, frames=700 if smoke else 2900)


def _language(runs: Path, smoke: bool) -> Task:
    from training.language import LanguageTask, make_items
    from training.listening import EncoderTask, reference_features

    vocabulary, speech = pieces(runs), Speech.load(runs)
    config = checkpoint_config(vocabulary.size)
    encoder = EncoderTask(config, speech)
    encoder.module.load_state_dict(weights(runs, "encoder"))
    features = reference_features(encoder.w2v, speech, count=2 if smoke else 120)
    lines = [*speech.lines, *read_lines(runs / "alignments.jsonl")]
    items = make_items(lines, vocabulary)
    return LanguageTask(config, items, features, positions=900 if smoke else 5000)


STAGES: dict[str, Stage] = {
    "vocoder": Stage(task=_vocoder, cpu_s=3000, max_norm=5.0),
    "speaker": Stage(task=_speaker, cpu_s=90),
    "encoder": Stage(task=_encoder, cpu_s=300),
    "acoustic": Stage(task=_acoustic, cpu_s=2400),
    "language": Stage(task=_language, cpu_s=1500),
}


def train(stage: str, runs: Path, *, cpu_s: float | None, smoke: bool) -> dict[str, float]:
    """Train ``stage`` and return the last averages of its figures."""
    chosen = STAGES[stage]
    budget = Budget(
        cpu_s=chosen.cpu_s if cpu_s is None else cpu_s,
        hold=chosen.hold,
        max_norm=chosen.max_norm,
    )
    if smoke:
        budget = replace(budget, warmup_steps=2, max_steps=12, keep=0.7)
    with fused_snake(runs / "build"):
        run = Run(runs, stage, chosen.task(runs, smoke), budget)
        run.resume()
        return run.train()


def main() -> None:
    """Entry point of ``python -m training``."""
    parser = argparse.ArgumentParser(prog="training", description=__doc__)
    parser.add_argument(
        "stage", choices=["speech", "alignments", *STAGES, "voices", "export", "judge"]
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--cpu-s", type=float, help="CPU seconds in all, over every resumption")
    parser.add_argument("--count", type=int, default=9000, help="sentences to collect")
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--speakers", type=Path, default=Path("speaker.json"))
    parser.add_argument("--voice", help="a name of speaker.json; its first one when absent")
    parser.add_argument("--smoke", action="store_true", help="a few small steps")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")
    if options.stage in STAGES:
        train(options.stage, options.runs, cpu_s=options.cpu_s, smoke=options.smoke)
        return
    if options.stage == "export":
        from training.export import export

        print(f"{export(options.runs, options.checkpoint) / 1e6:.1f} MB")
        return
    if options.stage == "judge":
        from training.judge import judge

        judge(options.checkpoint, options.speakers, options.voice)
        return
    if options.stage == "voices":
        from training.voices import write_voices

        print("wrote", *write_voices(options.speakers))
        return
    from training import collect

    gather = collect.speech if options.stage == "speech" else collect.alignments
    print(gather(options.runs, count=options.count), "lines")
