"""Stage ``acoustic``: length regulator and DiT learn mel spectrograms by flow matching."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from indextts.audio.mel import MelSpectrogram
from indextts.v2.config import CheckpointConfig
from indextts.v2.dit import AdaptiveNorm, DiT
from indextts.v2.regulator import LengthRegulator
from training.corpus import CODES_HZ, RATE_HZ, Line, Speech, codes_of, seeded_rng
from training.listening import frozen_codec
from training.optim import split_optimizers

HOP_SAMPLES = 256
CODE_SAMPLES = RATE_HZ // CODES_HZ
FRAMES = (256, 384, 512, 704)
SHARES = (0.25, 0.45, 0.25, 0.05)
"""Lengths of the training sequences, prompt included, and how often each occurs."""
UNPROMPTED = 0.02
"""Share of sequences without any condition, for classifier-free guidance."""
AT_START = 0.8
"""Share of sequences at time 0, where a mel is guessed from its conditions alone."""
NOISE = 0.3
"""Standard deviation of the noise: with so little of it, a few steps get to the mel."""
MISHEARD = 0.5
"""Largest share of a prompt's codes that are replaced."""
MEAN_LOG_MEL = -5.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Consecutive mel frames of an utterance and the codes they were spoken from."""

    mel: Tensor
    """``[80, frames]``"""
    codes: NDArray[np.int64]


class Pieces:
    """Cuts pieces of a wanted number of frames out of the corpus."""

    def __init__(
        self, speech: Speech, codes: Callable[[Line], NDArray[np.int64]] = codes_of
    ) -> None:
        self._speech, self._mel, self._codes_of = speech, MelSpectrogram(), codes
        order = sorted(range(len(speech.lines)), key=lambda i: -speech.lines[i].samples)
        speakers = np.array([speech.lines[i].speaker for i in order])
        self._samples = {
            int(s): np.array(
                [speech.lines[i].samples for i in order if speech.lines[i].speaker == s]
            )
            for s in np.unique(speakers)
        }
        self._lines = {
            int(s): [speech.lines[i] for i in order if speech.lines[i].speaker == s]
            for s in np.unique(speakers)
        }
        self.speakers = list(self._lines)
        counts = np.array([len(lines) for lines in self._lines.values()])
        self.shares = counts / counts.sum()
        self.rng = seeded_rng()

    def cut(self, speaker: int, frames: int) -> Piece:
        """A piece from the beginning, the end or anywhere in an utterance of ``speaker``."""
        needed = frames * HOP_SAMPLES + CODE_SAMPLES
        enough = int(np.searchsorted(-self._samples[speaker], -needed, side="right"))
        line = self._lines[speaker][int(self.rng.integers(0, max(1, enough)))]
        codes = self._codes_of(line)
        count = math.ceil(frames * HOP_SAMPLES / CODE_SAMPLES)
        spare = max(0, len(codes) - count)
        kind = self.rng.random()
        first = 0 if kind < 0.4 else spare if kind < 0.6 else int(self.rng.integers(0, spare + 1))
        return Piece(mel=self._mel_of(line, first, frames), codes=codes[first : first + count])

    def _mel_of(self, line: Line, first: int, frames: int) -> Tensor:
        start = round(first * CODE_SAMPLES / HOP_SAMPLES) * HOP_SAMPLES
        wave = self._speech.wave(line)
        margin = min(start, 2 * HOP_SAMPLES)
        piece = wave[start - margin : start + (frames + 2) * HOP_SAMPLES]
        mel = self._mel(piece[None])[0, :, margin // HOP_SAMPLES :][:, :frames]
        return nn.functional.pad(mel, (0, frames - mel.shape[1]), mode="replicate")


class AcousticTask:
    """The velocity from noise to the mel that follows a prompt of the same speaker."""

    def __init__(
        self,
        config: CheckpointConfig,
        speech: Speech,
        styles: Mapping[int, Tensor],
        *,
        frames: int = 4800,
    ) -> None:
        self.codec = frozen_codec(config)
        self._codes = config.semantic_codec.codebook_size
        self.regulator = LengthRegulator(config.s2mel.length_regulator)
        self.dit = DiT(config.s2mel)
        self.module: nn.Module = nn.ModuleDict(
            {"length_regulator": self.regulator, "estimator": self.dit}
        )
        self._initialise()
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)  # on the CPU too
        self.optimizers = split_optimizers(
            self.module, matrix=_is_matrix, muon_lr=5e-3, adam_lr=2e-3
        )
        self._styles, self._frames = styles, frames
        self.prompts = self.targets = Pieces(speech)

    @torch.no_grad()
    def _initialise(self) -> None:
        """Norms start as plain norms, branches small, the velocity at the mean mel."""
        for module in self.dit.modules():
            if isinstance(module, AdaptiveNorm):
                module.project_layer.weight.mul_(0.1)
                module.project_layer.bias.copy_(
                    torch.cat((torch.ones_like(b := module.project_layer.bias.chunk(2)[0]), 0 * b))
                )
        for name, p in self.dit.named_parameters():
            if name.endswith(("attention.wo.weight", "feed_forward.w2.weight", "conv2.weight")):
                p.mul_(0.2)
        self.dit.get_parameter("conv2.bias").fill_(MEAN_LOG_MEL)

    @cached_property
    def _rng(self) -> np.random.Generator:
        return self.targets.rng

    def loss(self, progress: float) -> tuple[Tensor, Mapping[str, float]]:
        """L1 distance of velocities on the frames after the prompt."""
        total = int(self._rng.choice(FRAMES, p=SHARES))
        rows = max(2, self._frames // total)
        speakers = self._rng.choice(self.targets.speakers, rows, p=self.targets.shares)
        heard = [int(total * self._prompt_share()) for _ in range(rows)]
        prompts = [self.prompts.cut(s, n) for s, n in zip(speakers, heard, strict=True)]
        targets = [self.targets.cut(s, total - n) for s, n in zip(speakers, heard, strict=True)]
        mel = torch.stack(
            [torch.cat((p.mel, t.mel), dim=1) for p, t in zip(prompts, targets, strict=True)]
        )
        style = torch.stack([self._style(s) for s in speakers])
        known = (torch.arange(total) < torch.tensor(heard)[:, None])[:, None].float()
        before = self._conditions([self._misheard(prompt) for prompt in prompts])
        after = self._conditions(targets)
        mu = torch.stack(
            [torch.cat((before[i, :n], after[i, : total - n])) for i, n in enumerate(heard)]
        )
        keep = torch.from_numpy(self._rng.random(rows) >= UNPROMPTED).float()
        return self._flow(mel, known, mu * keep[:, None, None], style * keep[:, None], keep)

    def _prompt_share(self) -> float:
        """Mostly a few seconds, sometimes hardly anything."""
        low, high = (0.03, 0.2) if self._rng.random() < 0.4 else (0.2, 0.45)
        return float(self._rng.uniform(low, high))

    def _style(self, speaker: int) -> Tensor:
        rows = self._styles[int(speaker)]
        return rows[int(self._rng.integers(0, len(rows)))]

    def _misheard(self, piece: Piece) -> Piece:
        """Some codes replaced: those of a real prompt are guessed by the encoder."""
        wrong = self._rng.random(len(piece.codes)) < self._rng.uniform(0, MISHEARD)
        others = self._rng.integers(0, self._codes, len(piece.codes))
        return Piece(mel=piece.mel, codes=np.where(wrong, others, piece.codes))

    def _conditions(self, pieces: list[Piece]) -> Tensor:
        """Regulated codes of pieces, padded: ``[B, T, channels]``."""
        codes = [torch.from_numpy(piece.codes) for piece in pieces]
        padded = nn.utils.rnn.pad_sequence(codes, batch_first=True)
        with torch.no_grad():
            features = self.codec.vq2emb(padded).transpose(1, 2)
        frames = torch.tensor([piece.mel.shape[1] for piece in pieces])
        lengths = torch.tensor([len(c) for c in codes])
        with torch.autocast("cpu", torch.bfloat16):
            conditions: Tensor = self.regulator(features, frames, lengths)
        return conditions.float()

    def _flow(
        self, mel: Tensor, known: Tensor, mu: Tensor, style: Tensor, keep: Tensor
    ) -> tuple[Tensor, Mapping[str, float]]:
        """``mel [B, 80, T]``, ``known [B, 1, T]``, ``mu [B, T, C]``, ``style [B, 192]``."""
        rows, _, total = mel.shape
        t = torch.rand(rows) * (torch.rand(rows) >= AT_START)
        noise = torch.randn_like(mel) * NOISE
        x = (1 - t)[:, None, None] * noise + t[:, None, None] * mel
        x = x * (1 - known)
        prompt = mel * known * keep[:, None, None]
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            made = self.dit(x, prompt, [total] * rows, t, mu, style).float()
        error = ((made - (mel - noise)).abs() * (1 - known)).sum((1, 2))
        error = error / ((1 - known).sum((1, 2)) * mel.shape[1])
        loss, first = error.mean(), error[t == 0]
        figures = {"velocity": loss.item()}
        return loss, figures | ({"guess": first.mean().item()} if len(first) else {})


def _is_matrix(name: str, p: nn.Parameter) -> bool:
    return (
        p.ndim >= 2
        and "embedder" not in name
        and "project_layer" not in name
        and not (name.endswith("conv2.weight") or "adaLN" in name or "cond_x_merge" in name)
    )
