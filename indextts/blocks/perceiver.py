"""Perceiver resampler: any number of frames become a fixed number of latents (specification 6.2).

After Jaegle et al. 2021, "Perceiver" (arXiv:2103.03206), and Alayrac et al. 2022, "Flamingo"
(arXiv:2204.14198).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD_SIZE = 64
"""Width of an attention head; the checkpoints fix it."""


class LatentAttention(nn.Module):
    """Latents attend to themselves and to the context."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        inner = heads * HEAD_SIZE
        self.heads = heads
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(self, latents: Tensor, context: Tensor, valid: Tensor | None) -> Tensor:
        """``latents [B, N, C]``, ``context [B, T, C]``, ``valid [B, T]`` -> ``[B, N, C]``."""
        keys_values = self.to_kv(torch.cat((latents, context), dim=1)).chunk(2, dim=-1)
        query, key, value = (
            projected.unflatten(2, (self.heads, HEAD_SIZE)).transpose(1, 2)
            for projected in (self.to_q(latents), *keys_values)
        )
        mask = None if valid is None else F.pad(valid, (latents.shape[1], 0), value=True)
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=None if mask is None else mask[:, None, None]
        )
        projected: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return projected


class GatedGelu(nn.Module):
    """First half of the channels times the exact GELU of the second half."""

    def forward(self, x: Tensor) -> Tensor:
        """``[..., 2 C]`` -> ``[..., C]``."""
        value, gate = x.chunk(2, dim=-1)
        gated: Tensor = value * F.gelu(gate)
        return gated


class ScaledNorm(nn.Module):
    """Unit vectors times ``sqrt(width)`` and a learned gain."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """``[..., C]`` -> ``[..., C]``."""
        scaled: Tensor = F.normalize(x, dim=-1) * (self.gamma.shape[0] ** 0.5 * self.gamma)
        return scaled


class PerceiverResampler(nn.Module):
    """``latents`` learned queries read the context ``depth`` times."""

    def __init__(
        self,
        *,
        context_width: int,
        width: int,
        latents: int,
        heads: int,
        depth: int = 2,
        ff_mult: int = 2,
    ) -> None:
        super().__init__()
        hidden = int(width * ff_mult * 2 / 3)
        self.proj_context = (
            nn.Identity() if context_width == width else nn.Linear(context_width, width)
        )
        self.latents = nn.Parameter(torch.randn(latents, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                (
                    LatentAttention(width=width, heads=heads),
                    nn.Sequential(
                        nn.Linear(width, 2 * hidden), GatedGelu(), nn.Linear(hidden, width)
                    ),
                )
            )
            for _ in range(depth)
        )
        self.norm = ScaledNorm(width=width)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """``x [B, T, context_width]``, ``valid`` bool ``[B, T]`` -> ``[B, latents, width]``."""
        context = self.proj_context(x)
        latents = self.latents.expand(x.shape[0], -1, -1)
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleList)
            attention, feed_forward = layer
            latents = latents + attention(latents, context, valid)
            latents = latents + feed_forward(latents)
        normed: Tensor = self.norm(latents)
        return normed
