"""The DiT's training: noise, times, prompts, and whose codes are believed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import training.acoustic
from training.acoustic import AcousticTask, Piece, Pieces
from training.corpus import Speech
from training.settings import SMOKE, Recipe
from training.toy import toy_corpus

FRAMES = 256


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> AcousticTask:
    """A task on a corpus of two singers."""
    folder = tmp_path_factory.mktemp("acoustic")
    toy_corpus(folder, utterances=6, alignments=1, seed=0)
    torch.manual_seed(0)
    config = Recipe.load(SMOKE).checkpoint_config(40)
    width = config.campplus.embedding_size
    styles = {speaker: torch.randn(2, width) for speaker in (0, 1)}
    return AcousticTask(config, Speech.load(folder), styles, frames=2 * FRAMES)


@pytest.mark.parametrize(("share", "guessed"), [(1.0, True), (0.0, False)])
def test_a_guess_is_a_velocity_at_time_0(
    task: AcousticTask, monkeypatch: pytest.MonkeyPatch, share: float, guessed: bool
) -> None:
    monkeypatch.setattr(training.acoustic, "AT_START", share)
    _, figures = task.loss(0.0)
    assert ("guess" in figures) is guessed
    if guessed:
        assert figures["guess"] == pytest.approx(figures["velocity"])


def test_a_loss_has_gradients_for_everything_that_is_trained(task: AcousticTask) -> None:
    loss, _ = task.loss(0.0)
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in task.module.named_parameters():
        assert parameter.grad is not None, name


def test_some_of_a_prompts_codes_are_misheard(task: AcousticTask) -> None:
    codes = np.zeros(4000, np.int64)
    heard = task._misheard(Piece(mel=torch.zeros(80, 1), codes=codes)).codes
    assert (codes == 0).all()
    assert 0 < (heard != codes).mean() <= training.acoustic.MISHEARD


def test_a_piece_has_the_frames_that_were_asked_for_and_their_codes(tmp_path: Path) -> None:
    toy_corpus(tmp_path, utterances=4, alignments=1, seed=0)
    pieces = Pieces(Speech.load(tmp_path))
    for frames in (60, FRAMES, 2000):
        piece = pieces.cut(0, frames)
        assert piece.mel.shape == (80, frames)
        assert len(piece.codes) <= frames * 256 / 441 + 1
