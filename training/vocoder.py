"""Stage ``vocoder``: BigVGAN learns to turn mel spectrograms of the corpus into waveforms."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from indextts.audio.mel import MelSpectrogram
from indextts.v2.config import BigvganConfig
from indextts.v2.vocoder import BigVGAN
from training.corpus import Speech, seeded_rng
from training.optim import split_optimizers

RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))
"""FFT sizes and hops of the spectral loss."""
QUIET = 0.2
"""Keeps the relative distance of silent pieces from exploding; speech has about 2."""
FAINTEST = 3e-3
FAINTEST_LOG_MEL = -9.0
"""Magnitudes below, 56 dB under speech, all count as silence: nobody hears the difference."""


def spectral_loss(made: Tensor, real: Tensor) -> Tensor:
    """Multi-resolution STFT loss of ``[B, n]`` (Parallel WaveGAN, Yamamoto et al., 2020)."""
    total = made.new_zeros(())
    for size, hop in RESOLUTIONS:
        window = torch.hann_window(size)
        x, y = (_magnitude(wave, size, hop, window) for wave in (made, real))
        distance = (x - y).square().mean().sqrt() / (y.square().mean().sqrt() + QUIET)
        total = total + distance + (x.log() - y.log()).abs().mean()
    return total / len(RESOLUTIONS)


def _magnitude(wave: Tensor, size: int, hop: int, window: Tensor) -> Tensor:
    spectrum = torch.stft(wave, size, hop, size, window, return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square() + FAINTEST**2).sqrt()


class VocoderTask:
    """Copy synthesis of random pieces of the corpus, judged by spectra alone."""

    def __init__(
        self, config: BigvganConfig, speech: Speech, *, batch: int = 4, samples: int = 8192
    ) -> None:
        self.module: nn.Module = BigVGAN(config)
        for name, p in self.module.named_parameters():
            if name.startswith("resblocks") and name.endswith("weight"):
                nn.init.xavier_normal_(p, gain=0.5)
        self.optimizers = split_optimizers(
            self.module,
            matrix=lambda name, p: p.ndim == 3 and "conv_post" not in name,
            muon_lr=2.5e-3,
            adam_lr=1.2e-3,
            betas=(0.8, 0.99),
        )
        self._speech, self._batch, self._samples = speech, batch, samples
        self._mel = MelSpectrogram()
        self._rng = seeded_rng()

    def _piece(self) -> Tensor:
        """Random samples ``[n]``."""
        lines = self._speech.lines
        line = lines[int(self._rng.integers(0, len(lines)))]
        first = int(self._rng.integers(0, max(1, line.samples - self._samples)))
        piece = self._speech.wave(line)[first : first + self._samples]
        return nn.functional.pad(piece, (0, self._samples - len(piece)))

    def loss(self, progress: float) -> tuple[Tensor, Mapping[str, float]]:
        """Of pieces of the corpus and their own mels."""
        real = torch.stack([self._piece() for _ in range(self._batch)])
        return self.compare(real, self._mel(real))

    def compare(self, real: Tensor, mel: Tensor) -> tuple[Tensor, Mapping[str, float]]:
        """Spectral loss plus twice the mel distance, of ``real [B, n]`` made from ``mel``."""
        made = self.module(mel)[:, 0]
        distance = (self.audible(made) - self.audible(real)).abs().mean()
        spectral = spectral_loss(made, real)
        figures = {"spectral": spectral.item(), "mel": distance.item()}
        return spectral + 2 * distance, figures

    def audible(self, wave: Tensor) -> Tensor:
        """Log-mel ``[B, 80, T]`` of ``[B, n]``, all that is too faint to hear at one level."""
        mel: Tensor = self._mel(wave)
        return mel.clamp_min(FAINTEST_LOG_MEL)
