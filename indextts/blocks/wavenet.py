"""Gated convolutions under a global condition (WaveNet, van den Oord et al., 2016, 1609.03499).

Frames come last but one here, so that a convolution over windows of frames is one matrix product
and each row of a batch can mirror its own end (specification 7.3).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Windows:
    """Which frames each convolution sees: ``index`` int64 ``[B * T * kernel]`` into ``B * T`` rows.

    ``inside`` ``[B, T, kernel, 1]`` is zero where a row is too short to be mirrored; absent when
    none is.
    """

    index: Tensor
    inside: Tensor | None
    kernel_size: int

    def to(self, device: torch.device) -> Windows:
        """The same windows on ``device``."""
        inside = None if self.inside is None else self.inside.to(device)
        return Windows(index=self.index.to(device), inside=inside, kernel_size=self.kernel_size)

    def of(self, x: Tensor) -> Tensor:
        """``[B, T, C] -> [B, T, kernel * C]``."""
        batch, frames, channels = x.shape
        seen = x.flatten(0, 1).index_select(0, self.index)
        seen = seen.view(batch, frames, self.kernel_size, channels)
        return (seen if self.inside is None else seen * self.inside).flatten(2)


def mirrored_windows(lengths: Tensor, frames: int, kernel_size: int) -> Windows:
    """Windows of rows with ``lengths [B]``, mirrored at each row's own ends; all on the CPU.

    Rows are padded to ``frames``; one too short to be mirrored is first extended with zeros.
    """
    reach = kernel_size // 2
    offset = torch.arange(kernel_size) - reach
    position = (torch.arange(frames).unsqueeze(1) + offset).abs()
    end = lengths.clamp(min=reach + 1).view(-1, 1, 1)
    position = torch.where(position >= end, 2 * (end - 1) - position, position)
    first_row = torch.arange(len(lengths)).view(-1, 1, 1) * frames
    index = position.clamp(min=0, max=frames - 1) + first_row
    inside = None
    if int(lengths.min()) <= reach:
        inside = (position < lengths.view(-1, 1, 1)).unsqueeze(-1)
    return Windows(index=index.flatten(), inside=inside, kernel_size=kernel_size)


class PointwiseConv(nn.Conv1d):
    """A convolution of kernel size 1 whose channels come last."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, input: Tensor) -> Tensor:
        """``[..., in] -> [..., out]``."""
        return F.linear(input, self.weight.squeeze(-1), self.bias)


class WindowConv(nn.Module):
    """A convolution over given windows, with the parameters of ``nn.Conv1d``."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        conv = nn.Conv1d(in_channels, out_channels, kernel_size)
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        """``[B, T, in] -> [B, T, out]``."""
        return F.linear(windows.of(x), self.weight.transpose(1, 2).flatten(1), self.bias)


class WaveNet(nn.Module):
    """Gated residual layers whose skip outputs are summed; the last layer has no residual."""

    def __init__(self, *, channels: int, layers: int, kernel_size: int) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel size {kernel_size} is even")
        self.kernel_size = kernel_size
        self.reach_frames = layers * (kernel_size // 2)
        """Frames on each side of one that the whole net looks at."""
        self.cond_layer = PointwiseConv(channels, 2 * channels * layers)
        self.in_layers = nn.ModuleList(
            WindowConv(channels, 2 * channels, kernel_size) for _ in range(layers)
        )
        self.res_skip_layers = nn.ModuleList(
            PointwiseConv(channels, channels if i == layers - 1 else 2 * channels)
            for i in range(layers)
        )

    def windows(self, lengths: Tensor, frames: int) -> Windows:
        """Windows of all layers for rows with ``lengths [B]``, padded to ``frames``."""
        return mirrored_windows(lengths, frames, self.kernel_size).to(self.cond_layer.weight.device)

    def conditions(self, g: Tensor) -> Tensor:
        """Global condition ``g [N, C]`` -> terms of all layers ``[N, layers, 2C]``."""
        terms: Tensor = self.cond_layer(g)
        return terms.view(len(g), len(self.in_layers), -1)

    def forward(self, x: Tensor, conditions: Tensor, windows: Windows) -> Tensor:
        """``x [B, T, C]``, ``conditions [B or 1, layers, 2C]`` -> ``[B, T, C]``."""
        skipped = torch.zeros_like(x)
        layers = zip(self.in_layers, self.res_skip_layers, strict=True)
        for i, (conv, mix) in enumerate(layers):
            gates = conv(x, windows) + conditions[:, i : i + 1]
            signal, gate = gates.chunk(2, dim=-1)
            mixed = mix(signal.tanh() * gate.sigmoid())
            if i < len(self.in_layers) - 1:
                residual, mixed = mixed.chunk(2, dim=-1)
                x = x + residual
            skipped = skipped + mixed
        return skipped
