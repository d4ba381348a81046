"""Anti-aliased multi-periodicity block of BigVGAN (Lee et al., 2023; specification 8)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from indextts.blocks.alias_free import CONTEXT_SAMPLES, AntiAliasedSnakeBeta


class AmpBlock(nn.Module):
    """Residual dilated convolutions, each after an anti-aliased SnakeBeta."""

    def __init__(self, *, channels: int, kernel_size: int, dilations: Sequence[int]) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel size {kernel_size} is even")
        self.convs1 = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel_size, dilation=dilation, padding="same")
            for dilation in dilations
        )
        self.convs2 = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel_size, padding="same") for _ in dilations
        )
        self.activations = nn.ModuleList(
            AntiAliasedSnakeBeta(channels) for _ in range(2 * len(dilations))
        )
        reach = kernel_size // 2
        self.context_samples = sum(
            2 * CONTEXT_SAMPLES + reach * (1 + dilation) for dilation in dilations
        )
        """Samples on each side of one that the block looks at."""

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, T] -> [B, C, T]``."""
        pairs = zip(self.activations[0::2], self.activations[1::2], strict=True)
        for dilated, plain, (before, between) in zip(self.convs1, self.convs2, pairs, strict=True):
            x = x + plain(between(dilated(before(x))))
        return x
