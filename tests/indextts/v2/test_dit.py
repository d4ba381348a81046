"""The flow estimator: goldens, padded rows that equal themselves alone, and configurations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from indextts.goldens.v2_s2mel import check_dit, check_official_dit
from indextts.v2.config import S2melConfig
from indextts.v2.dit import DiT
from tests.indextts.v2.goldens import (
    failures,
    golden_arrays,
    golden_context,
    official_folder,
    with_unknown,
)
from tests.indextts.v2.lively import lively

MEL, CONTENT, STYLE = 5, 6, 7


def s2mel_config(
    dit: Mapping[str, object] | None = None, wavenet: Mapping[str, object] | None = None
) -> S2melConfig:
    sizes = {"hidden_dim": 32, "num_heads": 2, "depth": 5, "in_channels": MEL}
    return S2melConfig.model_validate(
        {
            "style_encoder": {"dim": STYLE},
            "length_regulator": {"channels": CONTENT, "in_channels": CONTENT},
            "DiT": {**sizes, "content_dim": CONTENT, **(dit or {})},
            "wavenet": {"hidden_dim": 32, "num_layers": 3, "kernel_size": 5, **(wavenet or {})},
        }
    )


def some_inputs(rows: int, frames: int) -> list[Tensor]:
    """``x``, ``prompt``, ``t``, ``mu``, ``style`` of an estimator call."""
    generator = torch.Generator().manual_seed(rows * 1000 + frames)
    shapes = ((rows, MEL, frames), (rows, MEL, frames), (rows, frames, CONTENT), (rows, STYLE))
    x, prompt, mu, style = (torch.randn(shape, generator=generator) for shape in shapes)
    return [x, prompt, torch.rand(rows, generator=generator), mu, style]


def evaluate(model: DiT, inputs: list[Tensor], lengths: list[int]) -> Tensor:
    x, prompt, t, mu, style = inputs
    velocity: Tensor = model(x, prompt, lengths, t, mu, style)
    return velocity


def row(inputs: list[Tensor], index: int, length: int) -> list[Tensor]:
    x, prompt, t, mu, style = (part[index : index + 1] for part in inputs)
    return [x[..., :length], prompt[..., :length], t, mu[:, :length], style]


def test_every_golden_array_is_within_tolerance() -> None:
    checks = check_dit(golden_arrays("dit.npz"), golden_context("dit.npz"))
    assert failures(checks) == {}
    judged = {check.name for check in checks if not check.informative}
    assert {"dit.npz:y", "dit.npz:batch_y[0]", "dit.npz:batch_y[1]"} <= judged


@pytest.mark.parametrize("name", ["y", "mid_layer0", "batch_y", "t_emb_sweep"])
def test_a_changed_array_fails(name: str) -> None:
    arrays = golden_arrays("dit.npz")
    arrays[name] = arrays[name] + np.float32(1e-2)
    failed = failures(check_dit(arrays, golden_context("dit.npz")))
    assert set(failed) == {"batch_y[0]" if name == "batch_y" else name}


def test_an_unknown_array_and_another_salt_fail() -> None:
    arrays = golden_arrays("dit.npz")
    assert set(failures(check_dit(with_unknown(arrays), golden_context("dit.npz")))) == {"surprise"}
    assert "y" in failures(check_dit(arrays, golden_context("dit.npz", salt="other")))


@pytest.mark.slow
@pytest.mark.official
def test_official_size_is_within_tolerance() -> None:
    file = "official_dit.npz"
    context = golden_context(file, official=official_folder())
    checks = check_official_dit(golden_arrays(file), context)
    assert failures(checks) == {}
    assert len(checks) >= 7


def test_official_size_without_official_files_fails_and_says_so() -> None:
    file = "official_dit.npz"
    failed = failures(check_official_dit(golden_arrays(file), golden_context(file)))
    assert "official files missing" in failed["y"].detail


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 6])
@torch.no_grad()
def test_a_padded_row_gets_what_it_gets_alone(depth: int) -> None:
    model = lively("cfm", DiT(s2mel_config({"depth": depth})))
    lengths = [23, 9, 3, 2, 1]
    inputs = some_inputs(len(lengths), max(lengths))
    together = evaluate(model, inputs, lengths)
    for index, length in enumerate(lengths):
        alone = evaluate(model, row(inputs, index, length), [length])
        assert torch.allclose(together[index, :, :length], alone[0], atol=1e-4)
    assert together[0].std() > 0.05


@torch.no_grad()
def test_leaving_the_prompt_out_changes_no_other_frame() -> None:
    model = lively("cfm", DiT(s2mel_config()))
    lengths, prompt_frames = [30, 21], 18
    x, prompt, t, mu, style = some_inputs(2, 30)
    context, time = model.prepare(mu, prompt, style), model.time_terms(t)
    whole = model.velocity(x, context, time, model.layout(lengths))
    layout = model.layout(lengths, prompt_frames)
    part = model.velocity(x, context, time, layout)
    assert part.shape[-1] < whole.shape[-1]
    for index, length in enumerate(lengths):
        kept = part[index, :, prompt_frames - layout.first : length - layout.first]
        assert torch.allclose(kept, whole[index, :, prompt_frames:length], atol=1e-4)


@torch.no_grad()
def test_the_unconditional_context_is_that_of_zeros() -> None:
    model = lively("cfm", DiT(s2mel_config()))
    zeros = [torch.zeros_like(part) for part in some_inputs(1, 4)]
    context = model.prepare(zeros[3], zeros[1], zeros[4])
    assert torch.allclose(context, model.unconditional().expand_as(context), atol=1e-6)


def test_skips_can_be_left_out() -> None:
    model = DiT(s2mel_config({"uvit_skip_connection": False, "long_skip_connection": False}))
    assert not [key for key in model.state_dict() if "skip_" in key and "res_skip" not in key]
    assert evaluate(model, some_inputs(1, 6), [6]).shape == (1, MEL, 6)


def test_an_official_file_may_hold_skips_that_no_block_takes() -> None:
    model = DiT(s2mel_config())
    state = model.state_dict()
    state["transformer.layers.0.skip_in_linear.weight"] = torch.zeros(32, 64)
    state["transformer.layers.0.skip_in_linear.bias"] = torch.zeros(32)
    model.load_state_dict(state)
    del state["transformer.layers.4.skip_in_linear.bias"]
    with pytest.raises(RuntimeError, match="skip_in_linear"):
        model.load_state_dict(state)


@pytest.mark.parametrize(
    ("dit", "wavenet", "message"),
    [
        ({}, {"hidden_dim": 16}, "differ"),
        ({}, {"dilation_rate": 2}, "dilation_rate"),
        ({}, {"kernel_size": 4}, "even"),
        ({"num_heads": 3}, {}, "heads"),
    ],
)
def test_configurations_without_meaning_are_refused(
    dit: dict[str, object], wavenet: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        DiT(s2mel_config(dit, wavenet))


def test_gradients_reach_every_parameter() -> None:
    model = lively("cfm", DiT(s2mel_config())).train()
    lengths = [12, 7]
    valid = (torch.arange(12) < torch.tensor(lengths)[:, None]).unsqueeze(1)
    velocity = evaluate(model, some_inputs(2, 12), lengths) * valid
    torch.autograd.backward(velocity.square().sum())
    silent = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert silent == set()


@torch.no_grad()
def test_half_precision_stays_close() -> None:
    model = lively("cfm", DiT(s2mel_config()))
    inputs = some_inputs(1, 20)
    exact = evaluate(model, inputs, [20])
    model.bfloat16()
    rough = evaluate(model, [part.bfloat16() for part in inputs], [20]).float()
    assert (rough - exact).norm() / exact.norm() < 0.05
