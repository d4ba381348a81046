"""Stages ``speaker`` and ``encoder``: who is speaking, and which phone at each moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from indextts.audio.fbank import SAMPLE_RATE_HZ, campplus_features, seamless_features
from indextts.audio.resample import sinc_resample
from indextts.v2.campplus import Campplus
from indextts.v2.config import CheckpointConfig
from indextts.v2.semantic import SemanticCodec
from indextts.v2.w2v_bert import W2vBert
from training.corpus import CODES_HZ, RATE_HZ, Line, Speech, codes_of, seeded_rng
from training.optim import split_optimizers

CODE_SAMPLES = RATE_HZ // CODES_HZ
SHARPNESS = 16.0
"""Factor between cosines and logits."""
PLAYED_AT_HZ = range(18_000, 27_001, 1_000)
"""Rates that recordings are played at to be of other voices, pitch and vocal tract changed."""
VOCAL_TRACTS = (0.86, 1.16)
"""How far the mel bins are stretched beyond that."""
TOGETHER = 4
"""Crops of a batch that are played at one rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """Where in an utterance a crop begins, and how many seconds of it one second holds."""

    line: Line
    first: int
    """In codes."""
    pace: float = 1.0

    def codes(self, count: int) -> NDArray[np.int64]:
        """The codes of its first ``count`` fiftieths of a second."""
        known = codes_of(self.line)
        at = self.first + ((np.arange(count) + 0.5) * self.pace).astype(np.int64)
        codes: NDArray[np.int64] = known[at.clip(max=len(known) - 1)]
        return codes


class Crops:
    """Random pieces of random utterances at 16 kHz, with gain, tilt and noise.

    With ``voices`` they are played faster or slower as well, as if others were speaking.
    """

    def __init__(self, speech: Speech, *, codes: int, voices: bool = False) -> None:
        self._speech, self._codes, self._voices = speech, codes, voices
        needed = codes * (max(PLAYED_AT_HZ) if voices else RATE_HZ) // CODES_HZ
        self._lines = [line for line in speech.lines if line.samples > needed]
        self.rng = seeded_rng()

    def batch(self, count: int) -> tuple[Tensor, list[Crop]]:
        """``[count, n]`` samples, and for each where it comes from."""
        waves, origins = [], []
        for first in range(0, count, TOGETHER):
            rate_hz = int(self.rng.choice(PLAYED_AT_HZ)) if self._voices else RATE_HZ
            made = [self._cut(rate_hz) for _ in range(min(TOGETHER, count - first))]
            played = torch.stack([wave for wave, _ in made])
            waves.append(sinc_resample(played, rate_hz, SAMPLE_RATE_HZ))
            origins += [crop for _, crop in made]
        heard = self._tilted(torch.cat(waves))
        loudness = 10 ** self.rng.uniform(-5, -1.8, (count, 1))
        noise = torch.randn(heard.shape) * torch.from_numpy(loudness).float()
        return heard + noise, origins

    def _cut(self, rate_hz: int) -> tuple[Tensor, Crop]:
        line = self._lines[int(self.rng.integers(0, len(self._lines)))]
        length = self._codes * rate_hz // CODES_HZ
        first = int(self.rng.integers(0, (line.samples - length) // CODE_SAMPLES + 1))
        wave = self._speech.wave(line)[first * CODE_SAMPLES :][:length]
        crop = Crop(line=line, first=first, pace=rate_hz / RATE_HZ)
        return wave * self.rng.uniform(0.3, 1.5), crop

    def _tilted(self, waves: Tensor) -> Tensor:
        """``[B, n]`` through a random filter of one zero and a faint echo."""
        zero, echo = (
            torch.from_numpy(self.rng.uniform(*span, (len(waves), 1))).float()
            for span in ((-0.6, 0.6), (-0.25, 0.25))
        )
        delay = int(self.rng.integers(80, 1200))
        waves = waves + zero * waves.roll(1, 1)
        return waves + echo * nn.functional.pad(waves, (delay, 0))[:, :-delay]


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
        target = torch.tensor([crop.line.speaker for crop in origins])
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
        self._batch, self._crops = batch, Crops(speech, codes=125, voices=True)

    def loss(self, progress: float) -> tuple[Tensor, Mapping[str, float]]:
        """Cross-entropy over codes, from the cosines that inference compares."""
        waves, origins = self._crops.batch(self._batch)
        features, mask = seamless_features(waves)
        features = self._stretched(features)
        target = torch.from_numpy(np.stack([crop.codes(features.shape[1]) for crop in origins]))
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.codec.logits(self.w2v(features, mask))
        loss = F.cross_entropy(SHARPNESS * logits.float().transpose(1, 2), target)
        right = (logits.argmax(-1) == target).float().mean()
        return loss, {"loss": loss.item(), "right": right.item()}

    def _stretched(self, features: Tensor) -> Tensor:
        """``[B, T, 160]`` with the mel bins of each row stretched, as by another vocal tract."""
        bank = features.reshape(*features.shape[:2], 2, -1)
        bins = bank.shape[-1]
        scale = torch.from_numpy(self._crops.rng.uniform(*VOCAL_TRACTS, (len(features), 1))).float()
        place = (torch.arange(bins) * scale).clamp(max=bins - 1.001)
        low, share = place.long()[:, None, None], place.frac()[:, None, None]
        lower, upper = (
            bank.take_along_dim(index.expand(bank.shape), -1) for index in (low, low + 1)
        )
        return torch.lerp(lower, upper, share.expand(bank.shape)).flatten(2)


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
def reference_features(
    encoder: W2vBert, speech: Speech, *, count: int = 240, seed: int = 5
) -> list[Tensor]:
    """w2v-BERT features ``[T, width]`` of utterances, every other one as of an unknown voice."""
    encoder.eval()
    rng, features = np.random.default_rng(seed), []
    for index, line in enumerate(speech.lines[:count]):
        rate_hz = int(rng.choice(PLAYED_AT_HZ)) if index % 2 else RATE_HZ
        wave = speech.wave(line)[None, :CLIP_SAMPLES] * rng.uniform(0.3, 1.5)
        heard = sinc_resample(wave, rate_hz, SAMPLE_RATE_HZ)
        noisy = heard + torch.from_numpy(rng.normal(0, 10 ** rng.uniform(-5, -2), heard.shape))
        features.append(encoder(*seamless_features(noisy.float()))[0])
    return features
