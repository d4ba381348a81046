"""CAM++ speaker encoder (specification 5.2; Wang et al., "CAM++: A Fast and Efficient Network for
Speaker Verification Using Context-Aware Masking", Interspeech 2023).

Attribute names follow the official state dict.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SEGMENT_FRAMES = 100


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut; ``stride`` shrinks the frequency axis only."""

    def __init__(self, channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, (stride, 1), 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut.append(nn.Conv2d(channels, channels, 1, (stride, 1), bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, bins, T]`` -> ``[B, C, bins / stride, T]``."""
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(inner + self.shortcut(x))


class ConvolutionHead(nn.Module):
    """The 2-D front: eight times fewer bins, then bins folded into channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = self._layer(channels)
        self.layer2 = self._layer(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, (2, 1), 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    @staticmethod
    def _layer(channels: int) -> nn.Sequential:
        return nn.Sequential(ResidualBlock(channels, stride=2), ResidualBlock(channels, stride=1))

    def forward(self, bank: Tensor) -> Tensor:
        """``[B, bins, T]`` -> ``[B, C * bins / 8, T]``."""
        x = torch.relu(self.bn1(self.conv1(bank[:, None])))
        x = torch.relu(self.bn2(self.conv2(self.layer2(self.layer1(x)))))
        return x.flatten(1, 2)


class Norm(nn.Module):
    """Batch normalisation, with a ReLU unless told otherwise."""

    def __init__(self, channels: int, *, affine: bool = True, relu: bool = True) -> None:
        super().__init__()
        self.batchnorm = nn.BatchNorm1d(channels, affine=affine)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` or ``[B, C]``, same shape."""
        normal: Tensor = self.batchnorm(x)
        return torch.relu(normal) if self.relu else normal


class ContextAwareMask(nn.Module):
    """A local convolution gated by what the recording and its segment sound like."""

    def __init__(self, channels: int, growth: int, *, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(
            channels, growth, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.linear1 = nn.Conv1d(channels, channels // 2, 1)
        self.linear2 = nn.Conv1d(channels // 2, growth, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` -> ``[B, growth, T]``."""
        segments = F.avg_pool1d(x, _SEGMENT_FRAMES, ceil_mode=True)
        local = segments.repeat_interleave(_SEGMENT_FRAMES, dim=-1)[..., : x.shape[-1]]
        context = x.mean(-1, keepdim=True) + local
        mask = torch.sigmoid(self.linear2(torch.relu(self.linear1(context))))
        local_out: Tensor = self.linear_local(x)
        return local_out * mask


class DenseLayer(nn.Module):
    """A bottleneck and a masked convolution whose output joins the input channels."""

    def __init__(self, channels: int, bottleneck: int, growth: int, *, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = Norm(channels)
        self.linear1 = nn.Conv1d(channels, bottleneck, 1, bias=False)
        self.nonlinear2 = Norm(bottleneck)
        self.cam_layer = ContextAwareMask(bottleneck, growth, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` -> ``[B, C + growth, T]``."""
        new = self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))
        return torch.cat([x, new], dim=1)


class Tdnn(nn.Module):
    """The strided convolution that halves the frame rate."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(channels, out_channels, 5, 2, 2, bias=False)
        self.nonlinear = Norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` -> ``[B, out, ceil(T / 2)]``."""
        out: Tensor = self.nonlinear(self.linear(x))
        return out


class Transit(nn.Module):
    """Halves the channels between dense blocks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.nonlinear = Norm(channels)
        self.linear = nn.Conv1d(channels, channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` -> ``[B, C / 2, T]``."""
        out: Tensor = self.linear(self.nonlinear(x))
        return out


class StatsPool(nn.Module):
    """Mean and unbiased standard deviation over time."""

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T]`` -> ``[B, 2 C]``."""
        return torch.cat([x.mean(-1), x.std(-1, correction=1)], dim=-1)


class Dense(nn.Module):
    """The embedding layer, normalised without affine parameters."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(channels, out_channels, 1, bias=False)
        self.nonlinear = Norm(out_channels, affine=False, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C]`` -> ``[B, out]``."""
        out: Tensor = self.nonlinear(self.linear(x[..., None])[..., 0])
        return out


class Campplus(nn.Module):
    """Mean-subtracted filter banks to a speaker vector."""

    def __init__(
        self,
        *,
        head_channels: int = 32,
        init_channels: int = 128,
        bottleneck_channels: int = 128,
        growth_rate: int = 32,
        layers: tuple[int, ...] = (12, 24, 16),
        dilations: tuple[int, ...] = (1, 2, 2),
        embedding_size: int = 192,
        n_mels: int = 80,
    ) -> None:
        super().__init__()
        self.head = ConvolutionHead(head_channels)
        stack: OrderedDict[str, nn.Module] = OrderedDict()
        stack["tdnn"] = Tdnn(head_channels * (n_mels // 8), init_channels)
        channels = init_channels
        for number, (count, dilation) in enumerate(zip(layers, dilations, strict=True), start=1):
            block = nn.Sequential()
            for layer in range(1, count + 1):
                dense = DenseLayer(channels, bottleneck_channels, growth_rate, dilation=dilation)
                block.add_module(f"tdnnd{layer}", dense)
                channels += growth_rate
            stack[f"block{number}"] = block
            stack[f"transit{number}"] = Transit(channels)
            channels //= 2
        stack["out_nonlinear"] = Norm(channels)
        stack["stats"] = StatsPool()
        stack["dense"] = Dense(2 * channels, embedding_size)
        self.xvector = nn.Sequential(stack)

    def forward(self, features: Tensor) -> Tensor:
        """``[B, T, n_mels]`` with ``T >= 3`` -> ``[B, embedding_size]``, not normalised."""
        style: Tensor = self.xvector(self.head(features.transpose(1, 2)))
        return style
