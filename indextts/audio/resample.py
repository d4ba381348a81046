"""Two resamplers: soxr for recordings, windowed sinc for the 16 kHz branch (specification 4.1-2).

They are not interchangeable: the encoders were trained on the branch they are fed from.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from streaming.speech import Samples

_ZEROS = 6
_ROLLOFF = 0.99


def load_resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """``[n]`` at ``from_hz`` as ``[ceil(n * to_hz / from_hz)]`` at ``to_hz``, soxr quality HQ."""
    if from_hz == to_hz:
        return np.ascontiguousarray(samples, np.float32)
    length = math.ceil(samples.size * to_hz / from_hz)
    out: Samples = soxr.resample(samples.astype(np.float32), from_hz, to_hz, quality="HQ")
    return np.pad(out[:length], (0, length - min(length, out.size)))


def sinc_resample(samples: Tensor, from_hz: int, to_hz: int) -> Tensor:
    """``[B, n]`` as ``[B, ceil(n * to_hz / from_hz)]`` by a Hann-windowed sinc; differentiable."""
    if from_hz == to_hz:
        return samples
    divisor = math.gcd(from_hz, to_hz)
    stride, phases = from_hz // divisor, to_hz // divisor
    kernel, width = _sinc_kernel(stride, phases)
    padded = F.pad(samples[:, None], (width, width + stride))
    weight = torch.from_numpy(kernel).to(samples)[:, None]
    out = F.conv1d(padded, weight, stride=stride).transpose(1, 2).flatten(1)
    return out[:, : math.ceil(samples.shape[1] * phases / stride)]


@lru_cache(maxsize=16)
def _sinc_kernel(stride: int, phases: int) -> tuple[NDArray[np.float32], int]:
    """``[phases, taps]`` and the padding on the left; equal to the reference to the last bit."""
    base = min(stride, phases) * _ROLLOFF
    width = math.ceil(_ZEROS * stride / base)
    taps = np.arange(-width, width + stride, dtype=np.float64) / stride
    # The reference keeps the phase in float32 and everything else in float64.
    offsets = (-np.arange(phases, dtype=np.float32) / np.float32(phases)).astype(np.float64)
    t = np.clip((offsets[:, None] + taps) * base, -_ZEROS, _ZEROS)
    window = np.cos(np.pi * t / (2 * _ZEROS)) ** 2
    kernel: NDArray[np.float32] = (np.sinc(t) * window * base / stride).astype(np.float32)
    return kernel, width
