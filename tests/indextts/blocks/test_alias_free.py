"""Anti-aliased activations: goldens, equivalence of both forms, gradients."""

from __future__ import annotations

import pytest
import torch

from indextts.blocks.alias_free import (
    CONTEXT_SAMPLES,
    AntiAliasedSnakeBeta,
    downsample2,
    kaiser_sinc_filter,
    snake_beta,
    upsample2,
)
from indextts.goldens.v2_s2mel import check_snake
from tests.indextts.v2.goldens import failures, golden_arrays, golden_context


def activation(channels: int = 3, seed: int = 0) -> AntiAliasedSnakeBeta:
    generator = torch.Generator().manual_seed(seed)
    module = AntiAliasedSnakeBeta(channels)
    for parameter in (module.alpha, module.beta):
        parameter.data = torch.randn(channels, generator=generator) / 2
    return module


def test_every_golden_array_is_within_tolerance() -> None:
    checks = check_snake(golden_arrays("snake.npz"), golden_context("snake.npz"))
    assert failures(checks) == {}
    assert len([check for check in checks if not check.informative]) >= 7


def test_filter_has_unit_gain_and_is_symmetric() -> None:
    taps = kaiser_sinc_filter()
    assert taps.sum().item() == pytest.approx(1.0, abs=1e-6)
    assert torch.equal(taps, taps.flip(0))


@pytest.mark.parametrize("length", [1, 2, 3, 5, 6, 11, 12, 40])
def test_polyphase_form_equals_up_activation_down(length: int) -> None:
    module, taps = activation(), kaiser_sinc_filter()
    x = torch.randn(2, 3, length, generator=torch.Generator().manual_seed(length))
    frequency, gain = module.alpha.exp()[:, None], (-module.beta).exp()[:, None]
    slow = downsample2(snake_beta(upsample2(x, taps), frequency, gain), taps)
    assert torch.allclose(module(x), slow, atol=1e-5)


def test_nothing_outside_the_context_matters() -> None:
    module = activation()
    x = torch.randn(1, 3, 41, generator=torch.Generator().manual_seed(1))
    other = x.clone()
    other[..., : 20 - CONTEXT_SAMPLES] += 1
    other[..., 20 + CONTEXT_SAMPLES + 1 :] -= 1
    assert torch.equal(module(x)[..., 20], module(other)[..., 20])
    other[..., 20 - CONTEXT_SAMPLES] += 1
    assert not torch.equal(module(x)[..., 20], module(other)[..., 20])


def test_gradients_are_those_of_the_function() -> None:
    module = activation(2).double()
    x = torch.randn(1, 2, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (x,))
    module(x).square().sum().backward()
    assert module.alpha.grad is not None and module.beta.grad is not None
    assert module.alpha.grad.abs().min() > 0
