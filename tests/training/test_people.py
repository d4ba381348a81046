"""Who speaks in the corpus, how often they are heard, and what the vocoder may ignore."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch

from training.corpus import Speech
from training.people import PASSERS_BY, SPEAKERS, everybody, speaker_of
from training.settings import NANO, Recipe
from training.vocoder import VocoderTask, spectral_loss

NAMED = len(SPEAKERS)


def test_named_speakers_come_first_and_passers_by_are_drawn_from_the_seed() -> None:
    people = everybody()
    assert people[:NAMED] == list(SPEAKERS.values())
    assert len(people) == NAMED + PASSERS_BY
    assert people == everybody()
    assert people != everybody(seed=12)


def test_sentences_go_to_the_named_alike_and_seldom_to_each_passer_by() -> None:
    count = Counter(speaker_of(index) for index in range(16 * PASSERS_BY))
    assert set(count) == set(range(NAMED + PASSERS_BY))
    assert {count[s] for s in range(NAMED)} == {3 * PASSERS_BY}
    assert {count[NAMED + s] for s in range(PASSERS_BY)} == {4}


def test_what_nobody_hears_costs_the_vocoder_hardly_anything() -> None:
    torch.manual_seed(0)
    wave = 0.1 * torch.randn(2, 8192)
    wave[:, 4096:] = 0
    faint, audible = (wave + level * torch.randn_like(wave) for level in (1e-6, 1e-3))
    assert spectral_loss(faint, wave) < 0.05 * spectral_loss(audible, wave)
    task = VocoderTask(Recipe.load(NANO).bigvgan_config(), Speech(lines=[], pcm=np.empty(0, "i2")))
    heard = [task.audible(each) for each in (wave, faint, audible)]
    assert (heard[1] - heard[0]).abs().mean() < 0.05 * (heard[2] - heard[0]).abs().mean()
