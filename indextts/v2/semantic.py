"""Semantic codec: w2v-BERT features to discrete codes and back (specification 5.1; the RepCodec of
MaskGCT, Wang et al. 2024, with the ConvNeXt backbone of Vocos, Siuzdak 2023).

Attribute names follow the official state dict; its decoder is never needed.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from indextts.blocks.codebook import FactorizedCodebook


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution and a scaled feed-forward on a residual path."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, inner)
        self.pwconv2 = nn.Linear(inner, width)
        self.gamma = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, width]``, same shape."""
        mixed = self.norm(self.dwconv(x.transpose(1, 2)).transpose(1, 2))
        update: Tensor = self.pwconv2(F.gelu(self.pwconv1(mixed)))
        return x + self.gamma * update


class Backbone(nn.Module):
    """A convolution in, a stack of ConvNeXt blocks, a norm out."""

    def __init__(self, in_width: int, width: int, inner: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Conv1d(in_width, width, 7, padding=3)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.convnext = nn.ModuleList(ConvNeXtBlock(width, inner) for _ in range(layers))
        self.final_layer_norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, in_width]`` -> ``[B, T, width]``."""
        x = self.norm(self.embed(x.transpose(1, 2)).transpose(1, 2))
        for block in self.convnext:
            x = block(x)
        out: Tensor = self.final_layer_norm(x)
        return out


class Quantizer(nn.Module):
    """The official name path to the only codebook."""

    def __init__(self, codebook: FactorizedCodebook) -> None:
        super().__init__()
        self.quantizers = nn.ModuleList([codebook])


class SemanticCodec(nn.Module):
    """Features to codes and codes to features; 50 of either per second."""

    def __init__(
        self,
        *,
        codebook_size: int = 8192,
        hidden_size: int = 1024,
        codebook_dim: int = 8,
        vocos_dim: int = 384,
        vocos_intermediate_dim: int = 2048,
        vocos_num_layers: int = 12,
    ) -> None:
        super().__init__()
        backbone = Backbone(hidden_size, vocos_dim, vocos_intermediate_dim, vocos_num_layers)
        self.encoder = nn.Sequential(backbone, nn.Linear(vocos_dim, hidden_size))
        self.quantizer = Quantizer(
            FactorizedCodebook(
                width=hidden_size, codebook_size=codebook_size, codebook_dim=codebook_dim
            )
        )

    @property
    def codebook(self) -> FactorizedCodebook:
        """The codebook with its projections."""
        return cast(FactorizedCodebook, self.quantizer.quantizers[0])

    def encode(self, features: Tensor) -> Tensor:
        """What is quantised: ``[B, T, width]``, same shape."""
        encoded: Tensor = self.encoder(features)
        return encoded

    def logits(self, features: Tensor) -> Tensor:
        """Cosine of each frame to each code, differentiable: ``[B, T, codebook_size]``."""
        return self.codebook.logits(self.codebook.in_project(self.encode(features).transpose(1, 2)))

    def quantize(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, T, width]`` -> ids ``[B, T]`` and quantized ``[B, T, width]``."""
        ids, quantized = self.codebook(self.encode(features).transpose(1, 2))
        return ids, quantized.transpose(1, 2)

    def vq2emb(self, codes: Tensor) -> Tensor:
        """Features of codes, each batch row its own: ``[B, S]`` -> ``[B, width, S]``."""
        return self.codebook.lookup(codes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Same as :meth:`quantize`: ``[B, T, width]`` -> ids ``[B, T]``, ``[B, T, width]``."""
        return self.quantize(features)
