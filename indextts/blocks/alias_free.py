"""Activations without aliasing: SnakeBeta between a 2x upsampling and a 2x downsampling.

BigVGAN (Lee et al., 2023, arXiv:2206.04658) after StyleGAN3 (Karras et al., 2021); constants of
the specification, section 8. The upsampled signal is kept as its two phases, each of the input's
length, so that both resamplings are short correlations and nothing is interleaved:

    even[n] = sum_j 2 h[2j]   x[n - 3 + j]      odd[n] = sum_j 2 h[2j + 1] x[n - 2 + j]
    down[n] = sum_j h[2j + 1] even[n - 2 + j] + h[2j] odd[n - 3 + j]       (j = 0..5)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FILTER_TAPS = 12
CONTEXT_SAMPLES = 5
"""Samples on each side of one that the anti-aliased activation looks at."""


def kaiser_sinc_filter(cutoff: float = 0.25, half_width: float = 0.3) -> Tensor:
    """Low-pass filter ``[12]`` with gain 1: a sinc under a Kaiser window (specification 8).

    ``cutoff`` and the transition's ``half_width`` are in units of the sample rate.
    """
    attenuation_db = 2.285 * (FILTER_TAPS / 2 - 1) * math.pi * 4 * half_width + 7.95
    window = torch.kaiser_window(
        FILTER_TAPS, periodic=False, beta=0.1102 * (attenuation_db - 8.7), dtype=torch.float64
    )
    time = torch.arange(FILTER_TAPS, dtype=torch.float64) - (FILTER_TAPS - 1) / 2
    taps = 2 * cutoff * window * torch.sinc(2 * cutoff * time)
    return (taps / taps.sum()).float()


def upsample2(x: Tensor, taps: Tensor) -> Tensor:
    """``[B, C, T] -> [B, C, 2T]``, edges replicated."""
    channels = x.shape[1]
    weight = 2 * taps.to(x).expand(channels, 1, -1)
    full = F.conv_transpose1d(F.pad(x, (5, 5), "replicate"), weight, stride=2, groups=channels)
    return full[..., 15:-15]


def downsample2(x: Tensor, taps: Tensor) -> Tensor:
    """``[B, C, 2T] -> [B, C, T]``, edges replicated."""
    channels = x.shape[1]
    weight = taps.to(x).expand(channels, 1, -1)
    return F.conv1d(F.pad(x, (5, 6), "replicate"), weight, stride=2, groups=channels)


def snake_beta(x: Tensor, frequency: Tensor, inverse_gain: Tensor) -> Tensor:
    """``x + inverse_gain * sin(frequency * x)^2`` for ``x [B, C, T]``, parameters ``[C, 1]``.

    Where no gradient is wanted, one new tensor does: memory is what limits it on a CPU.
    """
    wave = x * frequency
    if wave.requires_grad:
        return torch.addcmul(x, wave.sin().square(), inverse_gain)
    activated: Tensor = torch.addcmul(x, wave.sin_().square_(), inverse_gain, out=wave)
    return activated


def correlate(x: Tensor, taps: Tensor) -> Tensor:
    """``out[n] = sum_j taps[j] x[n + j]`` for ``x [B, C, T]``, ``taps [C, 1, J]``, rows all alike.

    On a CPU as a sum of shifted signals, which is faster there than a depthwise convolution.
    """
    if x.device.type != "cpu":
        return F.conv1d(x, taps, groups=x.shape[1])
    first, *others = taps[0, 0].tolist()
    length = x.shape[-1] - len(others)
    total: Tensor = x[..., :length] * first
    for shift, tap in enumerate(others, start=1):
        total.add_(x[..., shift : shift + length], alpha=tap)
    return total


def antialiased_snake_beta(
    x: Tensor, frequency: Tensor, inverse_gain: Tensor, phases: Tensor
) -> Tensor:
    """Anti-aliased SnakeBeta, ``[B, C, T] -> [B, C, T]``: the place for a fused kernel.

    ``phases [2, C, 1, 6]`` are the even and odd taps of the filter, repeated for each channel.
    """
    padded = F.pad(x, (CONTEXT_SAMPLES, CONTEXT_SAMPLES), "replicate")
    even = correlate(padded, 2 * phases[0])  # of samples -2 .. T+2
    odd = correlate(padded, 2 * phases[1])  # of samples -3 .. T+1
    even = snake_beta(even, frequency, inverse_gain)
    odd = snake_beta(odd, frequency, inverse_gain)
    # The downsampling replicates the upsampled signal's own edges, not what lies beyond them.
    first, last = even[..., 2:3].clone(), odd[..., -3:-2].clone()
    even[..., :2] = first
    odd[..., :3] = first
    even[..., -3:] = last
    odd[..., -2:] = last
    return correlate(even, phases[1]).add_(correlate(odd, phases[0]))


class AntiAliasedSnakeBeta(nn.Module):
    """SnakeBeta with log-scale parameters ``alpha`` and ``beta`` per channel, anti-aliased."""

    phases: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        taps = kaiser_sinc_filter()
        phases = torch.stack((taps[0::2], taps[1::2])).view(2, 1, 1, -1)
        self.register_buffer("phases", phases.repeat(1, channels, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T] -> [B, C, T]``."""
        frequency = self.alpha.exp().unsqueeze(-1)
        inverse_gain = (self.beta.exp() + 1e-9).reciprocal().unsqueeze(-1)
        return antialiased_snake_beta(x, frequency, inverse_gain, self.phases)
