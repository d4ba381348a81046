"""ECAPA-TDNN speaker encoder (Desplanques et al., 2020, arXiv:2005.07143; specification 6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_CHANNELS = 512
_POOLED = 3 * _CHANNELS
_HIDDEN = 128
_SCALE = 8
_SMALLEST_VARIANCE = 1e-12
MIN_FRAMES = 5
"""Shortest input that can be mirrored at its edges."""


def _conv(channels: int, out_channels: int, kernel: int = 1, dilation: int = 1) -> nn.Conv1d:
    return nn.Conv1d(
        channels,
        out_channels,
        kernel,
        dilation=dilation,
        padding=dilation * (kernel - 1) // 2,
        padding_mode="reflect",
    )


def _statistics(x: Tensor, weights: Tensor | float) -> tuple[Tensor, Tensor]:
    """Weighted mean and deviation over time: ``[B, C, T]`` -> ``[B, C, 1]`` twice."""
    mean = (weights * x).sum(-1, keepdim=True)
    variance = (weights * (x - mean).square()).sum(-1, keepdim=True)
    return mean, variance.clamp_min(_SMALLEST_VARIANCE).sqrt()


class Tdnn(nn.Module):
    """Convolution, ReLU, batch normalisation."""

    def __init__(
        self, channels: int, out_channels: int, kernel: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.conv = _conv(channels, out_channels, kernel, dilation)
        self.norm = nn.BatchNorm1d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` -> ``[B, out, T]``."""
        normed: Tensor = self.norm(torch.relu(self.conv(x)))
        return normed


class Res2Net(nn.Module):
    """Slices of the channels, each seeing what the one before made (Gao et al., 2019)."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        width = _CHANNELS // _SCALE
        self.blocks = nn.ModuleList(Tdnn(width, width, 3, dilation) for _ in range(_SCALE - 1))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` -> ``[B, C, T]``."""
        first, *others = x.chunk(_SCALE, dim=1)
        made = [first]
        for block, part in zip(self.blocks, others, strict=True):
            made.append(block(part + made[-1] if len(made) > 1 else part))
        return torch.cat(made, dim=1)


class SqueezeExcitation(nn.Module):
    """Channels scaled by what the whole recording sounds like (Hu et al., 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = _conv(_CHANNELS, _HIDDEN), _conv(_HIDDEN, _CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` -> ``[B, C, T]``."""
        squeezed = torch.relu(self.conv1(x.mean(-1, keepdim=True)))
        return x * torch.sigmoid(self.conv2(squeezed))


class Block(nn.Module):
    """Res2Net between two pointwise layers, squeeze and excitation, a residual around it."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.tdnn1, self.tdnn2 = Tdnn(_CHANNELS, _CHANNELS), Tdnn(_CHANNELS, _CHANNELS)
        self.res2net_block = Res2Net(dilation)
        self.se_block = SqueezeExcitation()

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` -> ``[B, C, T]``."""
        made: Tensor = self.se_block(self.tdnn2(self.res2net_block(self.tdnn1(x))))
        return made + x


class AttentiveStatistics(nn.Module):
    """Mean and deviation over time, weighted by attention (Okabe et al., 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.tdnn = Tdnn(3 * _POOLED, _HIDDEN)
        self.conv = _conv(_HIDDEN, _POOLED)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` -> ``[B, 2 C, 1]``."""
        mean, deviation = _statistics(x, 1 / x.shape[-1])
        context = torch.cat((x, mean.expand_as(x), deviation.expand_as(x)), dim=1)
        weights = self.conv(torch.tanh(self.tdnn(context))).softmax(-1)
        return torch.cat(_statistics(x, weights), dim=1)


class EcapaTdnn(nn.Module):
    """Log-mel spectrogram to a speaker vector."""

    def __init__(self, *, n_mels: int, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList((Tdnn(n_mels, _CHANNELS, 5), *map(Block, (2, 3, 4))))
        self.mfa = Tdnn(_POOLED, _POOLED)
        self.asp = AttentiveStatistics()
        self.asp_bn = nn.BatchNorm1d(2 * _POOLED)
        self.fc = _conv(2 * _POOLED, width)

    def forward(self, mel: Tensor) -> Tensor:
        """``[B, n_mels, T]`` -> ``[B, width, 1]``."""
        x = mel
        made = [x := block(x) for block in self.blocks]
        vector: Tensor = self.fc(self.asp_bn(self.asp(self.mfa(torch.cat(made[1:], dim=1)))))
        return vector
