"""What an emotion does to the speech of nano: its tempo."""

from __future__ import annotations

import torch
from torch import Tensor

TEMPI = (-0.1, -0.12, 0.22, -0.17, 0.08, 0.25, -0.06, 0.13)
"""Logarithm of how much longer everything takes when happy, angry, sad, afraid, disgusted,
melancholic, surprised, calm."""
HASTE = len(TEMPI)
"""Row of the vector that makes the GPT spell a text in one code per phone, for training alone."""
SCALE = 0.5


def emotion_rows(width: int, seed: int = 8) -> Tensor:
    """A vector per emotion, and one for haste: ``[9, width]``, drawn once for all stages."""
    generator = torch.Generator().manual_seed(seed)
    return SCALE * torch.randn(HASTE + 1, width, generator=generator)
