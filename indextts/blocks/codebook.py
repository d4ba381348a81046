"""Factorised vector quantiser (van den Oord et al. 2017, with the low-dimensional, L2-normalised
lookup of Yu et al., "Vector-quantized Image Modeling with Improved VQGAN", 2022).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class FactorizedCodebook(nn.Module):
    """One codebook whose rows are compared by cosine in a small space."""

    def __init__(self, *, width: int, codebook_size: int, codebook_dim: int) -> None:
        super().__init__()
        self.in_project = nn.Conv1d(width, codebook_dim, 1)
        self.out_project = nn.Conv1d(codebook_dim, width, 1)
        self.codebook = nn.Embedding(codebook_size, codebook_dim)

    def logits(self, projected: Tensor) -> Tensor:
        """Cosine of each frame to each row: ``[B, dim, T]`` -> ``[B, T, codebook_size]``."""
        rows = F.normalize(self.codebook.weight, eps=1e-12)
        frames = F.normalize(projected.transpose(1, 2), dim=-1, eps=1e-12)
        return frames @ rows.t()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, width, T]`` -> ids ``[B, T]`` and quantized ``[B, width, T]``.

        Gradients pass straight through the choice of the row.
        """
        projected = self.in_project(x)
        ids = self.logits(projected).argmax(-1)
        rows = self.codebook(ids).transpose(1, 2)
        return ids, self.out_project(projected + (rows - projected).detach())

    def lookup(self, ids: Tensor) -> Tensor:
        """Features of codes: ``[B, S]`` -> ``[B, width, S]``."""
        out: Tensor = self.out_project(self.codebook(ids).transpose(1, 2))
        return out
