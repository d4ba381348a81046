"""Every stage of the training takes steps on synthetic speech, learns, resumes and exports."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from indextts.blocks.alias_free import AntiAliasedSnakeBeta
from indextts.loading import load_checkpoint
from training.cli import STAGES, train, weights
from training.corpus import CODES_HZ, RATE_HZ, UNIT_S, Line, Speech, codes_of, write_lines
from training.export import export
from training.snake import fused_snake

pytestmark = [
    pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
]

WORDS = ("so", "we", "go", "on", "in", "an", "up")
SPACE = 1
TONES_HZ = (140.0, 260.0)
LEARNT = {
    "vocoder": "mel",
    "speaker": "loss",
    "encoder": "loss",
    "acoustic": "velocity",
    "language": "entropy",
}


def sung(line: Line, rng: np.random.Generator) -> np.ndarray:
    """A tone per phone, lower for one speaker than for the other."""
    length = round(sum(line.durations) * UNIT_S * RATE_HZ)
    phone = np.repeat(line.phones, line.durations)[
        np.arange(length) * len(np.repeat(line.phones, line.durations)) // length
    ]
    phase = np.cumsum(TONES_HZ[line.speaker] + 40.0 * phone) / RATE_HZ
    return 0.2 * np.sin(2 * np.pi * phase) + 0.01 * rng.standard_normal(length)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus of two singing speakers."""
    folder, rng = tmp_path_factory.mktemp("runs"), np.random.default_rng(3)
    lines, waves, start = [], [], 0
    for index in range(24):
        text = " ".join(rng.choice(WORDS, 8))
        phones = [0, *(SPACE if c == " " else ord(c) - ord("a") + 2 for c in text), 0]
        durations = rng.integers(4, 8, len(phones))
        line = Line(
            text=text.capitalize(),
            symbols=text,
            phones=tuple(phones),
            durations=tuple(int(d) for d in durations),
            speaker=index % 2,
            start=start,
        )
        wave = sung(line, rng)
        lines.append(replace(line, samples=len(wave)))
        waves.append((wave * 32767).astype(np.int16))
        start += len(wave)
    np.concatenate(waves).tofile(folder / "speech.i16")
    write_lines(folder / "speech.jsonl", iter(lines))
    write_lines(folder / "alignments.jsonl", iter(lines))
    return folder


def test_codes_count_halves_of_phones_at_fifty_a_second() -> None:
    line = Line(text="A", symbols="a", phones=(0, 3, 0), durations=(8, 8, 8))
    codes = codes_of(line)
    assert len(codes) == int(24 * UNIT_S * CODES_HZ)
    assert codes.tolist() == [code for code in (0, 1, 6, 7, 0, 1) for _ in range(5)]


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


@pytest.mark.slow
def test_every_stage_learns_and_the_result_loads(runs: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    torch.set_num_threads(1)
    for stage, figure in LEARNT.items():
        _, before = STAGES[stage].task(runs, True).loss(0.0)
        after = train(stage, runs, cpu_s=1000.0, smoke=True)
        assert after[figure] < before[figure], stage
    assert export(runs, tmp_path) < 30_000_000
    loaded = load_checkpoint(tmp_path, device=torch.device("cpu"))
    trained = weights(runs, "language")["mel_head.weight"]
    torch.testing.assert_close(
        loaded.networks.gpt.mel_head.weight.data, trained, atol=1e-3, rtol=1e-3
    )


def test_a_corpus_gives_back_its_samples(runs: Path) -> None:
    speech = Speech.load(runs)
    line = speech.lines[5]
    wave = speech.wave(line)
    assert len(wave) == line.samples
    assert float(wave.abs().max()) == pytest.approx(0.2, abs=0.06)
