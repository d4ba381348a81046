"""Filter banks of the two encoders that listen at 16 kHz (specification 4.4, 4.5).

Both share kaldi's framing and differ in scale and normalisation. The arithmetic is float64 on the
CPU, which is what the w2v-BERT features were made with; the results are float32.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

SAMPLE_RATE_HZ = 16000
FRAME_SAMPLES = 400
HOP_SAMPLES = 160
_N_FFT = 512
_N_MELS = 80
_PREEMPHASIS = 0.97
_FLOOR = 1.1920929e-07
_FULL_SCALE = 32768.0
_PAD_VALUE = 1.0


def kaldi_fbank(samples: Tensor) -> Tensor:
    """Log-mel energies ``[B, frames, 80]`` of ``[B, n]`` at 16 kHz, samples in [-1, 1]."""
    return _log_mel(samples, 1.0).float()


def campplus_features(samples: Tensor) -> Tensor:
    """:func:`kaldi_fbank` less its mean over time: what CAMPPlus is fed."""
    bank = _log_mel(samples, 1.0).float()
    return bank - bank.mean(1, keepdim=True)


def seamless_features(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs ``[B, T, 160]`` and mask ``[B, T]`` (int32) of w2v-BERT for ``[B, n]`` at 16 kHz.

    Frames are normalised per bin and stacked in pairs; an odd last one is paired with padding and
    its mask is 0. ValueError below two frames.
    """
    bank = _log_mel(samples, _FULL_SCALE)
    if bank.shape[1] < 2:
        raise ValueError("w2v-BERT features need at least two frames")
    centred = bank - bank.mean(1, keepdim=True)
    normal = centred / torch.sqrt(bank.var(1, keepdim=True, correction=1) + 1e-7)
    rows, frames, _ = normal.shape
    odd = frames % 2
    stacked = F.pad(normal, (0, 0, 0, odd), value=_PAD_VALUE).reshape(rows, -1, 2 * _N_MELS)
    mask = torch.ones(stacked.shape[:2], dtype=torch.int32)
    mask[:, -1] = 1 - odd
    return stacked.float(), mask


def _log_mel(samples: Tensor, scale: float) -> Tensor:
    """``[B, n]`` -> float64 ``[B, 1 + (n - 400) // 160, 80]``; ValueError below one frame."""
    if samples.shape[-1] < FRAME_SAMPLES:
        raise ValueError(f"a filter bank needs at least {FRAME_SAMPLES} samples")
    frames = (samples.double() * scale).unfold(-1, FRAME_SAMPLES, HOP_SAMPLES)
    frames = frames - frames.mean(-1, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    window, bank = _povey_window_and_bank()
    spectrum = torch.fft.rfft((frames - _PREEMPHASIS * before) * window, _N_FFT)
    power = spectrum.real.square() + spectrum.imag.square()
    return torch.log((power @ bank).clamp_min(_FLOOR))


@lru_cache(maxsize=1)
def _povey_window_and_bank() -> tuple[Tensor, Tensor]:
    """Povey's window ``[400]`` and triangles linear in mel ``[257, 80]``, float64."""
    window = torch.hann_window(FRAME_SAMPLES, periodic=False, dtype=torch.float64) ** 0.85
    edges = np.linspace(_mel(20.0), _mel(SAMPLE_RATE_HZ / 2), _N_MELS + 2)
    bins = _mel(np.arange(_N_FFT // 2 + 1) * (SAMPLE_RATE_HZ / _N_FFT))[:, None]
    rising = (bins - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - bins) / np.diff(edges)[1:]
    bank = np.maximum(0.0, np.minimum(rising, falling))
    bank[-1] = 0.0
    return window, torch.from_numpy(bank)


def _mel(hz: float | np.ndarray) -> np.ndarray:
    """HTK's mel scale with natural logarithm: ``1127 ln(1 + f / 700)``."""
    return 1127.0 * np.log1p(np.asarray(hz) / 700.0)
