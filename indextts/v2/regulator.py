"""From code features to mel-rate conditions: projection, nearest stretching, convolutions.

Specification 5.3 (length regulator) and 7.1 (``gpt_layer``). Rows of a right-padded batch get what
they get alone: each row has its own stretching ratio, the frames beyond its length are zero before
every convolution and stay out of the GroupNorm statistics.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from indextts.v2.config import LengthRegulatorConfig

FRAMES_PER_CODE = 1.72


def target_length(codes: int) -> int:
    """Mel frames for a number of codes (float32 arithmetic, specification 5.3)."""
    return int(np.float32(codes) * np.float32(FRAMES_PER_CODE))


def nearest_index(lengths: Tensor, target_lengths: Tensor, frames: int) -> Tensor:
    """Source position of each target frame, int64 ``[B, frames]``; clamped beyond a row's end."""
    ratio = lengths.float() / target_lengths.float()
    position = torch.arange(frames, device=lengths.device, dtype=torch.float32)
    index = (position * ratio.unsqueeze(1)).floor().long()
    return torch.minimum(index, lengths.unsqueeze(1) - 1)


class MaskedGroupNorm(nn.GroupNorm):
    """GroupNorm with one group whose statistics cover a row's valid frames only."""

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels, eps=1e-5)

    def masked(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x [B, C, T]``, ``mask [B, 1, T]`` -> ``[B, C, T]``."""
        count = mask.sum(dim=(1, 2), keepdim=True) * x.shape[1]
        mean = (x * mask).sum(dim=(1, 2), keepdim=True) / count
        centred = (x - mean) * mask
        variance = centred.square().sum(dim=(1, 2), keepdim=True) / count
        scale = self.weight.unsqueeze(-1) * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias.unsqueeze(-1), centred, scale)


class LengthRegulator(nn.Module):
    """Stretches features to a wanted number of mel frames."""

    def __init__(self, config: LengthRegulatorConfig) -> None:
        super().__init__()
        channels = config.channels
        self.content_in_proj = nn.Linear(config.in_channels, channels)
        layers: list[nn.Module] = []
        for _ in config.sampling_ratios:
            layers += [
                nn.Conv1d(channels, channels, 3, padding=1),
                MaskedGroupNorm(channels),
                nn.Mish(),
            ]
        self.model = nn.Sequential(*layers, nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor, target_lengths: Tensor, lengths: Tensor | None = None) -> Tensor:
        """``x [B, S, in]``, ``target_lengths [B]`` -> ``[B, max(target_lengths), C]``.

        ``lengths [B]`` are the valid frames of ``x`` (all of them when absent); output frames
        beyond a row's target length are zero.
        """
        if lengths is None:
            lengths = torch.full_like(target_lengths, x.shape[1])
        frames = int(target_lengths.max())
        index = nearest_index(lengths, target_lengths, frames)
        x = self.content_in_proj(x)
        x = x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1])).transpose(1, 2)
        position = torch.arange(frames, device=x.device)
        mask = (position < target_lengths.unsqueeze(1)).unsqueeze(1).to(x)
        x = x * mask
        for layer in self.model:
            x = layer.masked(x, mask) if isinstance(layer, MaskedGroupNorm) else layer(x) * mask
        return x.transpose(1, 2)


class GptLayer(nn.Sequential):
    """Three affine maps from GPT latents to the codec's feature space (specification 7.1)."""

    def __init__(self, *, model_dim: int, hidden: tuple[int, int], features: int) -> None:
        super().__init__(
            nn.Linear(model_dim, hidden[0]),
            nn.Linear(hidden[0], hidden[1]),
            nn.Linear(hidden[1], features),
        )
