"""Stages ``speaker`` and ``encoder``: who is speaking, and which phone at each moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from indextts.audio.fbank import SAMPLE_RATE_HZ, campplus_features, seamless_features
from indextts.audio.resample import sinc_resample
from indextts.v2.campplus import Campplus
from indextts.v2.config import CheckpointConfig
from indextts.v2.semantic import SemanticCodec
from indextts.v2.w2v_bert import W2vBert
from training.corpus import CODES_HZ, RATE_HZ, Line, Speech, codes_of
from training.optim import split_optimizers

CODE_SAMPLES = RATE_HZ // CODES_HZ
SHARPNESS = 16.0
"""Factor between cosines and logits."""


class Crops:
    """Random pieces of random utterances at 16 kHz, with gain and noise."""

    def __init__(self, speech: Speech, *, codes: int) -> None:
        self._speech, self._codes = speech, codes
        self._lines = [line for line in speech.lines if line.samples > codes * CODE_SAMPLES]
        self._rng = np.random.default_rng()

    def batch(self, count: int) -> tuple[Tensor, list[tuple[Line, int]]]:
        """``[count, n]`` samples, and for each its line and its first code."""
        length = self._codes * CODE_SAMPLES
        waves, origins = [], []
        for index in self._rng.integers(0, len(self._lines), count):
            line = self._lines[index]
            first = int(self._rng.integers(0, (line.samples - length) // CODE_SAMPLES + 1))
            wave = self._speech.wave(line)[first * CODE_SAMPLES :][:length]
            waves.append(wave * self._rng.uniform(0.3, 1.5))
            origins.append((line, first))
        heard = sinc_resample(torch.stack(waves), RATE_HZ, SAMPLE_RATE_HZ)
        loudness = 10 ** self._rng.uniform(-5, -2.2, (count, 1))
        noise = torch.randn(heard.shape) * torch.from_numpy(loudness).float()
        return heard + noise, origins


class SpeakerTask:
    """CAMPPlus tells the speakers apart (large-margin cosine loss, Wang et al., 2018)."""

    MARGIN = 0.2

    def __init__(self, config: CheckpointConfig, speech: Speech, *, batch: int = 24) -> None:
        self.encoder = Campplus(**config.campplus.model_dump())
        speakers = 1 + max(line.speaker for line in speech.lines)
        self.module: nn.Module = nn.ModuleDict(
            {
                "encoder": self.encoder,
                "classes": nn.Linear(config.campplus.embedding_size, speakers, bias=False),
            }
        )
        self.optimizers = split_optimizers(
            self.module, matrix=lambda name, p: False, muon_lr=0.0, adam_lr=2e-3
        )
        self._batch, self._crops = batch, Crops(speech, codes=75)

    def loss(self, progress: float) -> tuple[Tensor, Mapping[str, float]]:
        """Cross-entropy over speakers."""
        waves, origins = self._crops.batch(self._batch)
        target = torch.tensor([line.speaker for line, _ in origins])
        style = F.normalize(self.encoder(campplus_features(waves)))
        weight = F.normalize(self.module.get_parameter("classes.weight"))
        cosines = style @ weight.T
        right = (cosines.argmax(-1) == target).float().mean()
        logits = SHARPNESS * (cosines - self.MARGIN * F.one_hot(target, cosines.shape[1]))
        loss = F.cross_entropy(logits, target)
        return loss, {"loss": loss.item(), "right": right.item()}


def frozen_codec(config: CheckpointConfig, seed: int = 20) -> SemanticCodec:
    """A codec whose codebook and output projection are drawn once and never trained.

    The first and second half of a phone share most of their vector. All stages draw the same one,
    so that none has to wait for another.
    """
    section = config.semantic_codec
    codec = SemanticCodec(**section.model_dump())
    generator = torch.Generator().manual_seed(seed)
    phones = torch.randn(section.codebook_size // 2, section.codebook_dim, generator=generator)
    for _ in range(200):  # push neighbours apart on the sphere
        phones = F.normalize(phones)
        near = torch.exp(8 * (phones @ phones.T)).fill_diagonal_(0)
        phones = phones - 0.05 * F.normalize(near @ phones)
    phones = F.normalize(phones)
    half = F.normalize(torch.randn(1, section.codebook_dim, generator=generator))
    rows = torch.stack((phones - 0.5 * half, phones + 0.5 * half), dim=1).flatten(0, 1)
    mixing = torch.randn(section.hidden_size, section.codebook_dim, generator=generator)
    columns = torch.linalg.qr(mixing).Q * section.hidden_size**0.5
    book = codec.codebook
    with torch.no_grad():
        book.codebook.weight.copy_(F.normalize(rows))
        book.out_project.weight.copy_(columns[..., None])
        nn.init.zeros_(book.get_parameter("out_project.bias"))
    for parameter in (book.codebook.weight, *book.out_project.parameters()):
        parameter.requires_grad_(False)
    return codec


class EncoderTask:
    """w2v-BERT and the codec's encoder find the code of each frame."""

    def __init__(self, config: CheckpointConfig, speech: Speech, *, batch: int = 16) -> None:
        self.w2v = W2vBert(**config.w2v_bert.model_dump())
        self.codec = frozen_codec(config)
        self.module: nn.Module = nn.ModuleDict({"w2v_bert": self.w2v, "codec": self.codec})
        self.optimizers = split_optimizers(
            self.module,
            matrix=lambda name, p: p.ndim == 2 and "distance" not in name and "proj" not in name,
            muon_lr=4e-3,
            adam_lr=2e-3,
        )
        self._batch, self._crops = batch, Crops(speech, codes=125)

    def loss(self, progress: float) -> tuple[Tensor, Mapping[str, float]]:
        """Cross-entropy over codes, from the cosines that inference compares."""
        waves, origins = self._crops.batch(self._batch)
        features, mask = seamless_features(waves)
        target = self._targets(origins, features.shape[1])
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.codec.logits(self.w2v(features, mask))
        loss = F.cross_entropy(SHARPNESS * logits.float().transpose(1, 2), target)
        right = (logits.argmax(-1) == target).float().mean()
        return loss, {"loss": loss.item(), "right": right.item()}

    @staticmethod
    def _targets(origins: Sequence[tuple[Line, int]], frames: int) -> Tensor:
        rows = []
        for line, first in origins:
            codes = codes_of(line)[first : first + frames]
            rows.append(np.pad(codes, (0, frames - len(codes)), mode="edge"))
        return torch.from_numpy(np.stack(rows))


CLIP_SAMPLES = 6 * RATE_HZ
SHORTEST_CLIP_SAMPLES = 5 * RATE_HZ // 2


def _clips(speech: Speech, lines: Sequence[Line]) -> Iterator[Tensor]:
    """The first seconds of utterances, ``[1, n]`` at 16 kHz."""
    for line in lines:
        yield sinc_resample(speech.wave(line)[None, :CLIP_SAMPLES], RATE_HZ, SAMPLE_RATE_HZ)


@torch.no_grad()
def reference_styles(encoder: Campplus, speech: Speech, *, each: int = 40) -> dict[int, Tensor]:
    """CAMPPlus vectors ``[each, 192]`` of every speaker's first long utterances."""
    encoder.eval()
    styles = {}
    for speaker in sorted({line.speaker for line in speech.lines}):
        chosen = [
            line
            for line in speech.lines
            if line.speaker == speaker and line.samples > SHORTEST_CLIP_SAMPLES
        ][:each]
        vectors = [encoder(campplus_features(clip)) for clip in _clips(speech, chosen)]
        styles[speaker] = torch.cat(vectors)
    return styles


@torch.no_grad()
def reference_features(encoder: W2vBert, speech: Speech, *, count: int = 120) -> list[Tensor]:
    """w2v-BERT features ``[T, width]`` of the first utterances."""
    encoder.eval()
    return [encoder(*seamless_features(clip))[0] for clip in _clips(speech, speech.lines[:count])]
