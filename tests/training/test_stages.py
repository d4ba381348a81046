"""Every stage of the recipe runs, learns, resumes after a kill and exports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from indextts.blocks.alias_free import AntiAliasedSnakeBeta
from indextts.loading import load_checkpoint
from training.cli import STEPS, collect, run_stage
from training.corpus import CODES_HZ, UNIT_S, Line, Speech, codes_of
from training.export import export
from training.runner import read_log
from training.settings import SMOKE, Recipe
from training.snake import compiler, fused_snake
from training.stages import STAGES, Place, train, weights

ROOT = Path(__file__).parents[2]
LEARNT = {
    "speaker": ("loss", 0.5),
    "encoder": ("loss", 0.6),
    "vocoder": ("mel", 0.85),
    "s2mel": ("velocity", 0.9),
    "gpt": ("entropy", 0.85),
    "joint": ("mel", 0.95),
}
"""A figure of each stage, and the share of its first value that it must end below.

The joint stage begins with weights that have learnt already.
"""


def fell(rows: list[dict[str, Any]], figure: str, share: float) -> bool:
    """Whether a figure of a log ended clearly below where it began."""
    values = [row[figure] for row in rows if figure in row]
    return bool(values[-1] < share * values[0])


def changed(recipe: Recipe, stage: str, **settings: object) -> Recipe:
    """The recipe with other settings of one stage."""
    stages = {**recipe.stages, stage: recipe.stages[stage].model_copy(update=settings)}
    return recipe.model_copy(update={"stages": stages})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """What ``make train SMOKE=1`` leaves."""
    place = Place(runs=tmp_path_factory.mktemp("runs"), recipe=Recipe.load(SMOKE))
    torch.set_num_threads(1)
    for step in STEPS:
        run_stage(step, place, ROOT / "speaker.json")
    return place


@pytest.mark.slow
@pytest.mark.timeout(600)
class TestSmoke:
    """The recipe smoke.yaml as a whole."""

    @pytest.mark.parametrize("stage", STAGES)
    def test_the_loss_of_every_stage_falls(self, trained: Place, stage: str) -> None:
        rows = read_log(trained.runs / f"{stage}.jsonl")
        assert rows[-1]["steps"] == trained.recipe.stages[stage].steps
        assert fell(rows, *LEARNT[stage]), rows

    def test_without_a_rate_no_loss_falls(self, trained: Place, tmp_path: Path) -> None:
        (tmp_path / "speech.i16").symlink_to(trained.runs / "speech.i16")
        (tmp_path / "speech.jsonl").symlink_to(trained.runs / "speech.jsonl")
        still = changed(trained.recipe, "speaker", adam_lr=0.0, muon_lr=0.0)
        train(Place(runs=tmp_path, recipe=still), "speaker")
        assert not fell(read_log(tmp_path / "speaker.jsonl"), *LEARNT["speaker"])

    def test_the_same_seed_learns_the_same(self, trained: Place, tmp_path: Path) -> None:
        (tmp_path / "speech.i16").symlink_to(trained.runs / "speech.i16")
        (tmp_path / "speech.jsonl").symlink_to(trained.runs / "speech.jsonl")
        train(Place(runs=tmp_path, recipe=trained.recipe), "speaker")
        again, once = weights(tmp_path, "speaker"), weights(trained.runs, "speaker")
        assert all(torch.equal(again[name], once[name]) for name in once)

    def test_the_result_loads_as_a_checkpoint(self, trained: Place, tmp_path: Path) -> None:
        assert export(trained.runs, tmp_path, trained.recipe) < 30_000_000
        loaded = load_checkpoint(tmp_path, device=torch.device("cpu"))
        for stage, name, module in (
            ("gpt", "mel_head.weight", loaded.networks.gpt),
            ("joint", "vocoder.conv_pre.weight", loaded.networks.bigvgan),
        ):
            kept = module.get_parameter(name.removeprefix("vocoder.")).data
            wanted = weights(trained.runs, stage)[name]
            torch.testing.assert_close(kept, wanted, atol=1e-3, rtol=1e-3)

    def test_a_finished_stage_stays_as_it_is(self, trained: Place) -> None:
        before = (trained.runs / "encoder.jsonl").read_text()
        train(trained, "encoder")
        assert (trained.runs / "encoder.jsonl").read_text() == before


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_stage_goes_on_with_the_same_log(tmp_path: Path) -> None:
    """SIGKILL in the middle: what came after the last checkpoint is done again, once."""
    recipe = yaml.safe_load(SMOKE.read_text(encoding="utf-8"))
    recipe["stages"]["speaker"] |= {"steps": 60, "save_every_s": 0.5, "log_every_s": 0.2}
    (tmp_path / "long.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    runs = tmp_path / "runs"
    place = Place(runs=runs, recipe=Recipe.load(tmp_path / "long.yaml"))
    collect(place)
    script = (
        "import sys, torch; from pathlib import Path; from training.settings import Recipe;"
        "from training.stages import Place, train; torch.set_num_threads(1);"
        "train(Place(runs=Path(sys.argv[1]), recipe=Recipe.load(Path(sys.argv[2]))), 'speaker')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(runs), str(tmp_path / "long.yaml")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    try:
        while not (runs / "speaker.pt").exists():
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.4)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    saved = torch.load(runs / "speaker.pt", weights_only=True)["steps"]
    assert 0 < saved < 60, "it was killed in the middle"
    with (runs / "speaker.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps({"steps": 59, "used_s": 9.0, "loss": 9.0}) + '\n{"steps": 6')
    train(place, "speaker")
    steps = [row["steps"] for row in read_log(runs / "speaker.jsonl")]
    assert steps == sorted(set(steps)) and steps[0] == 1 and steps[-1] == 60
    assert any(step <= saved for step in steps[2:]) or saved <= 5, "rows before the kill are kept"
    assert all(row["loss"] < 9 for row in read_log(runs / "speaker.jsonl"))


def test_a_recipe_needs_one_budget_per_stage() -> None:
    recipe = yaml.safe_load(SMOKE.read_text(encoding="utf-8"))
    recipe["stages"]["gpt"]["cpu_s"] = 5
    with pytest.raises(ValueError, match="either cpu_s or steps"):
        Recipe.model_validate(recipe)


def test_codes_count_halves_of_phones_at_fifty_a_second() -> None:
    line = Line(text="A", symbols="a", phones=(0, 3, 0), durations=(8, 8, 8))
    codes = codes_of(line)
    assert len(codes) == int(24 * UNIT_S * CODES_HZ)
    assert codes.tolist() == [code for code in (0, 1, 6, 7, 0, 1) for _ in range(5)]


@pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
def test_the_fused_activation_equals_the_plain_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = AntiAliasedSnakeBeta(3)
    torch.nn.init.normal_(module.alpha, std=0.3)
    torch.nn.init.normal_(module.beta, std=0.3)
    x, weight = torch.randn(2, 3, 50, requires_grad=True), torch.randn(2, 3, 50)
    inputs = (x, module.alpha, module.beta)

    def results() -> list[torch.Tensor]:
        out = module(x)
        return [out, *torch.autograd.grad((out * weight).sum(), inputs)]

    plain = results()
    with fused_snake(tmp_path):
        fused = results()
    for ours, theirs in zip(fused, plain, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_a_corpus_gives_back_its_samples(tmp_path: Path) -> None:
    place = Place(runs=tmp_path, recipe=Recipe.load(SMOKE))
    collect(place)
    speech = Speech.load(tmp_path)
    line = speech.lines[5]
    wave = speech.wave(line)
    assert len(wave) == line.samples
    assert float(wave.abs().max()) == pytest.approx(0.2, abs=0.06)
