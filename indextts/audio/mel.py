"""Log-mel spectrogram of the acoustic model and the vocoder (specification 4.3)."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

_LINEAR_HZ = 200 / 3
_BREAK_HZ = 1000.0
_LOG_STEP = math.log(6.4) / 27


def hz_to_slaney(hz: float) -> float:
    """Slaney's mel scale: linear below 1 kHz, logarithmic above (Auditory Toolbox, 1998)."""
    if hz < _BREAK_HZ:
        return hz / _LINEAR_HZ
    return _BREAK_HZ / _LINEAR_HZ + math.log(hz / _BREAK_HZ) / _LOG_STEP


def slaney_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of :func:`hz_to_slaney`."""
    knee = _BREAK_HZ / _LINEAR_HZ
    logarithmic = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, knee) - knee))
    return np.where(mel < knee, mel * _LINEAR_HZ, logarithmic)


def slaney_matrix(
    sample_rate_hz: int, n_fft: int, n_mels: int, fmin_hz: float, fmax_hz: float
) -> NDArray[np.float32]:
    """``[n_mels, n_fft // 2 + 1]`` triangles of equal area on Slaney's scale."""
    low, high = hz_to_slaney(fmin_hz), hz_to_slaney(fmax_hz)
    edges = slaney_to_hz(np.linspace(low, high, n_mels + 2))
    bins = np.arange(n_fft // 2 + 1) * (sample_rate_hz / n_fft)
    widths = np.diff(edges)[:, None]
    rising = (bins - edges[:-2, None]) / widths[:-1]
    falling = (edges[2:, None] - bins) / widths[1:]
    area = 2.0 / (edges[2:, None] - edges[:-2, None])
    return (np.maximum(0.0, np.minimum(rising, falling)) * area).astype(np.float32)


class MelSpectrogram(nn.Module):
    """Natural logarithm of a mel-weighted magnitude spectrum; differentiable."""

    window: Tensor
    basis: Tensor

    def __init__(
        self,
        *,
        sample_rate_hz: int = 22050,
        n_fft: int = 1024,
        win_length: int = 1024,
        hop_length: int = 256,
        n_mels: int = 80,
        fmin_hz: float = 0.0,
        fmax_hz: float | None = None,
    ) -> None:
        super().__init__()
        top_hz = sample_rate_hz / 2 if fmax_hz is None else fmax_hz
        basis = slaney_matrix(sample_rate_hz, n_fft, n_mels, fmin_hz, top_hz)
        self.n_fft, self.win_length, self.hop_length = n_fft, win_length, hop_length
        self.pad = (n_fft - hop_length) // 2
        self.register_buffer("basis", torch.from_numpy(basis), persistent=False)
        self.register_buffer("window", torch.hann_window(win_length), persistent=False)

    def frames(self, samples: int) -> int:
        """Number of frames that ``samples`` samples give."""
        return (samples + 2 * self.pad - self.n_fft) // self.hop_length + 1

    def forward(self, waveform: Tensor) -> Tensor:
        """``[B, n]`` -> ``[B, n_mels, frames]``; ValueError when too short to be mirrored."""
        if waveform.shape[-1] <= self.pad:
            raise ValueError(f"a mel spectrogram needs more than {self.pad} samples")
        padded = F.pad(waveform[:, None], (self.pad, self.pad), mode="reflect")[:, 0]
        spectrum = torch.stft(
            padded,
            self.n_fft,
            self.hop_length,
            self.win_length,
            self.window,
            center=False,
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        return torch.log((self.basis @ torch.sqrt(power + 1e-9)).clamp_min(1e-5))
