"""The perceiver: masks, sizes, gradients. Its numbers are in the golden sets."""

from __future__ import annotations

import torch

from indextts.blocks.perceiver import PerceiverResampler, ScaledNorm


def tiny(context_width: int = 12) -> PerceiverResampler:
    torch.manual_seed(0)
    return PerceiverResampler(context_width=context_width, width=24, latents=5, heads=2).eval()


@torch.no_grad()
def test_masked_frames_are_as_if_absent() -> None:
    model = tiny()
    context = torch.randn(2, 9, 12)
    valid = torch.arange(9) < torch.tensor([9, 4])[:, None]
    latents = model(context, valid)
    assert latents.shape == (2, 5, 24)
    torch.testing.assert_close(latents[:1], model(context[:1]), atol=1e-6, rtol=0)
    torch.testing.assert_close(latents[1:], model(context[1:, :4]), atol=1e-6, rtol=0)


def test_equal_widths_need_no_projection() -> None:
    assert not [key for key in tiny(24).state_dict() if "proj_context" in key]
    assert [key for key in tiny().state_dict() if "proj_context" in key]


def test_the_hidden_width_is_two_thirds() -> None:
    shapes = {key: tuple(value.shape) for key, value in tiny().state_dict().items()}
    assert shapes["layers.0.1.0.weight"] == (2 * 32, 24)
    assert shapes["layers.1.1.2.weight"] == (24, 32)


def test_the_norm_gives_vectors_of_one_length() -> None:
    norm = ScaledNorm(width=16)
    lengths = norm(torch.randn(3, 16) * 100).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.full((3,), 4.0))
    assert torch.equal(norm(torch.zeros(1, 16)), torch.zeros(1, 16))


def test_every_parameter_gets_a_gradient() -> None:
    model = tiny().train()
    model(torch.randn(2, 7, 12)).square().mul(torch.randn(24)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
