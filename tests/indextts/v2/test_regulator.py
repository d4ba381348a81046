"""Length regulator and gpt_layer: goldens, and rows of a batch that equal themselves alone."""

from __future__ import annotations

import pytest
import torch

from indextts.goldens.v2_s2mel import check_gpt_layer, check_length_regulator
from indextts.v2.config import LengthRegulatorConfig
from indextts.v2.regulator import LengthRegulator, nearest_index, target_length
from tests.indextts.v2.goldens import failures, golden_arrays, golden_context
from tests.indextts.v2.lively import lively


@pytest.fixture(scope="module")
def regulator() -> LengthRegulator:
    config = LengthRegulatorConfig(channels=12, in_channels=10)
    return lively("length_regulator", LengthRegulator(config))


def test_every_golden_array_is_within_tolerance() -> None:
    checks = check_length_regulator(
        golden_arrays("length_regulator.npz"), golden_context("length_regulator.npz")
    )
    assert failures(checks) == {}
    names = {check.name for check in checks if not check.informative}
    assert {"length_regulator.npz:batch_y[0]", "length_regulator.npz:batch_y[1]"} <= names


def test_gpt_layer_is_within_tolerance() -> None:
    checks = check_gpt_layer(golden_arrays("gpt_layer.npz"), golden_context("gpt_layer.npz"))
    assert [check.ok for check in checks] == [True]


@torch.no_grad()
def test_padding_on_either_side_changes_nothing(regulator: LengthRegulator) -> None:
    lengths, targets = torch.tensor([9, 4, 1]), torch.tensor([15, 20, 2])
    x = torch.randn(3, 9, 10, generator=torch.Generator().manual_seed(0))
    padded = x.clone()
    for row, length in enumerate(lengths.tolist()):
        padded[row, length:] = 1e3
    y = regulator(padded, targets, lengths)
    assert y.shape == (3, 20, 12)
    for row in range(3):
        length, target = int(lengths[row]), int(targets[row])
        alone = regulator(x[row : row + 1, :length], targets[row : row + 1])
        assert torch.allclose(y[row, :target], alone[0], atol=1e-4)
        assert y[row, target:].abs().sum() == 0


def test_target_length_rounds_in_single_precision() -> None:
    assert [target_length(codes) for codes in (0, 1, 2, 25, 50)] == [0, 1, 3, 43, 86]


def test_index_never_leaves_the_row() -> None:
    lengths = torch.tensor([3, 7])
    index = nearest_index(lengths, torch.tensor([5, 2]), 9)
    assert index[0, :5].tolist() == [0, 0, 1, 1, 2]
    assert index[1, :2].tolist() == [0, 3]
    assert (index < lengths[:, None]).all()


def test_gradients_reach_every_parameter(regulator: LengthRegulator) -> None:
    x = torch.randn(2, 6, 10)
    regulator(x, torch.tensor([10, 7]), torch.tensor([6, 4])).square().sum().backward()
    assert all(parameter.grad is not None for parameter in regulator.parameters())
    regulator.zero_grad(set_to_none=True)
