"""Log-mel spectrogram of IndexTTS 1's recordings (its specification, section 2)."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_QUIETEST = 1e-7


def htk_matrix(sample_rate_hz: int, n_fft: int, n_mels: int, fmin_hz: float) -> NDArray[np.float32]:
    """``[n_mels, n_fft // 2 + 1]`` triangles of equal height on the HTK mel scale."""
    nyquist = sample_rate_hz / 2
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (fmin_hz, nyquist))
    edges = 700 * (10 ** (np.linspace(low, high, n_mels + 2) / 2595) - 1)
    bins = np.linspace(0, nyquist, n_fft // 2 + 1)
    widths = np.diff(edges)[:, None]
    rising = (bins - edges[:-2, None]) / widths[:-1]
    falling = (edges[2:, None] - bins) / widths[1:]
    matrix: NDArray[np.float32] = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    return matrix


class HtkMelSpectrogram(nn.Module):
    """Natural logarithm of a mel-weighted magnitude spectrum, frames centred on their samples."""

    basis: Tensor
    window: Tensor

    def __init__(
        self,
        *,
        sample_rate_hz: int,
        n_fft: int,
        win_length: int,
        hop_length: int,
        n_mels: int,
        fmin_hz: float,
    ) -> None:
        super().__init__()
        self._sizes = (n_fft, hop_length, win_length)
        basis = htk_matrix(sample_rate_hz, n_fft, n_mels, fmin_hz)
        self.register_buffer("basis", torch.from_numpy(basis), persistent=False)
        self.register_buffer("window", torch.hann_window(win_length), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """``[B, n]`` -> ``[B, n_mels, 1 + n // hop]``."""
        spectrum = torch.stft(waveform, *self._sizes, self.window, return_complex=True)
        return (self.basis @ spectrum.abs()).clamp_min(_QUIETEST).log()
