"""The conformer: padding, gradients, shortest input. Its numbers are in the golden sets."""

from __future__ import annotations

import pytest
import torch

from indextts.blocks.conformer import Conformer, sinusoids, valid_frames


def tiny() -> Conformer:
    torch.manual_seed(0)
    return Conformer(in_features=20, width=16, heads=2, hidden=32, blocks=2).eval()


@torch.no_grad()
@pytest.mark.parametrize("lengths", [[40, 23, 3], [9, 40, 40], [4, 5, 6]])
def test_a_padded_row_is_what_it_is_alone(lengths: list[int]) -> None:
    model = tiny()
    batch = torch.randn(3, 40, 20)
    states, valid = model(batch, torch.tensor(lengths))
    assert states.shape == (3, 19, 16)
    for row, length in enumerate(lengths):
        alone, all_valid = model(batch[row : row + 1, :length])
        assert bool(all_valid.all())
        kept = (length - 1) // 2
        assert valid[row].tolist() == [True] * kept + [False] * (19 - kept)
        torch.testing.assert_close(states[row, :kept], alone[0], atol=1e-5, rtol=0)


def test_what_lies_in_the_padding_does_not_matter() -> None:
    model = tiny()
    batch = torch.randn(1, 30, 20)
    louder = batch.clone()
    louder[:, 17:] = 1e4
    lengths = torch.tensor([17])
    assert torch.equal(model(batch, lengths)[0][:, :8], model(louder, lengths)[0][:, :8])


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 frames"):
        tiny()(torch.zeros(1, 2, 20))


def test_every_parameter_gets_a_gradient() -> None:
    model = tiny().train()
    model(torch.randn(2, 15, 20), torch.tensor([15, 9]))[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_positions_are_sines_and_cosines() -> None:
    table = sinusoids(3, 4, torch.zeros((), dtype=torch.float64))
    assert table.dtype == torch.float64
    want = torch.tensor([[0, 1, 0, 1], [0.841471, 0.540302, 0.0099998, 0.99995]])
    torch.testing.assert_close(table[0, :2].float(), want, atol=1e-6, rtol=0)


def test_valid_frames_come_first() -> None:
    mask = valid_frames(torch.tensor([0, 2, 5]), 3)
    assert mask.tolist() == [[False] * 3, [True, True, False], [True] * 3]
