"""The short filters of the activations: shifted sums on a CPU equal the depthwise convolution."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from indextts.blocks.alias_free import correlate


@pytest.mark.parametrize("length", [6, 7, 50])
def test_shifted_sums_equal_the_depthwise_convolution(length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    x = torch.randn(2, 3, length, generator=generator, dtype=torch.float64)
    taps = torch.randn(1, 1, 6, generator=generator, dtype=torch.float64).expand(3, 1, 6)
    convolved = F.conv1d(x, taps, groups=3)
    assert torch.allclose(correlate(x, taps), convolved, atol=1e-12)
    assert not torch.allclose(correlate(x, taps.flip(-1)), convolved, atol=1e-3)
