from __future__ import annotations

import numpy as np
import pytest
import torch

from indextts.goldens.v2_voice import check_campplus
from indextts.v2.campplus import Campplus, ContextAwareMask
from indextts.v2.weights import convert
from tests.indextts.v2.goldens import failures, golden_arrays, golden_context, with_unknown

FILE = "campplus.npz"


def tiny() -> Campplus:
    torch.manual_seed(0)
    model = Campplus(
        head_channels=4,
        init_channels=16,
        bottleneck_channels=16,
        growth_rate=8,
        layers=(2, 3, 2),
        embedding_size=24,
    )
    return model.eval()


def test_goldens() -> None:
    arrays = golden_arrays(FILE)
    checks = check_campplus(arrays, golden_context(FILE))
    assert failures(checks) == {}
    assert len(checks) == len(arrays) - 2  # the two inputs


def test_numbers_in_names_are_parsed_and_what_is_left_over_fails() -> None:
    arrays = golden_arrays(FILE)
    renamed = {
        "x9": arrays["x64"],
        "y9": arrays["y64"],
        "transit2_9_last3frames": np.zeros((1, 128, 3), np.float32),
        "y64": arrays["y64"],
    }
    failed = failures(check_campplus(with_unknown(renamed), golden_context(FILE)))
    assert set(failed) == {"y64", "surprise", "transit2_9_last3frames"}
    assert failed["transit2_9_last3frames"].detail == "shape (1, 512, 3) instead of (1, 128, 3)"


def test_wrong_weights_are_noticed() -> None:
    arrays = golden_arrays(FILE)
    few = {name: arrays[name] for name in ("x64", "y64")}
    assert set(failures(check_campplus(few, golden_context(FILE, salt="other")))) == {"y64"}


@torch.no_grad()
def test_batch_equals_single() -> None:
    model, rows = tiny(), torch.randn(3, 150, 80)
    together = model(rows)
    assert together.shape == (3, 24)
    for row in range(3):
        assert torch.allclose(together[row : row + 1], model(rows[row : row + 1]), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("frames", [3, 4, 199, 200, 201, 450])
def test_any_length_gives_a_finite_vector(frames: int) -> None:
    assert tiny()(torch.randn(1, frames, 80)).isfinite().all()


@torch.no_grad()
def test_the_last_segment_is_averaged_over_its_own_length() -> None:
    layer = ContextAwareMask(4, 2, dilation=1).eval()
    x = torch.randn(1, 4, 130)
    local = torch.cat(
        [
            x[..., :100].mean(-1, keepdim=True).expand(-1, -1, 100),
            x[..., 100:].mean(-1, keepdim=True).expand(-1, -1, 30),
        ],
        dim=-1,
    )
    context = x.mean(-1, keepdim=True) + local
    mask = torch.sigmoid(layer.linear2(torch.relu(layer.linear1(context))))
    assert torch.allclose(layer(x), layer.linear_local(x) * mask, atol=1e-6)


def test_what_is_saved_is_loaded_strictly() -> None:
    model, other = tiny(), tiny()
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    other.load_state_dict(convert("campplus", model.state_dict()))
    x = torch.randn(1, 64, 80)
    assert np.array_equal(model(x).detach().numpy(), other(x).detach().numpy())


def test_it_can_be_trained() -> None:
    model = tiny().train()
    model(torch.randn(2, 64, 80)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
