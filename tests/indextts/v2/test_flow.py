"""Flow sampling: goldens, requests in company, guidance and its cache, noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from indextts.goldens.arrays import tensors
from indextts.goldens.v2 import load_filled
from indextts.goldens.v2_s2mel import check_cfm
from indextts.tensors import Mel
from indextts.v2.config import S2melConfig
from indextts.v2.dit import DiT
from indextts.v2.flow import FlowSampler, FlowState, draw_noise
from tests.indextts.v2.goldens import failures, golden_arrays, golden_context
from tests.indextts.v2.lively import lively
from tests.indextts.v2.test_dit import CONTENT, MEL, STYLE, s2mel_config

INPUTS = ("mu", "prompt", "style", "z", "t_span")


@pytest.fixture(scope="module")
def dit() -> DiT:
    return lively("cfm", DiT(s2mel_config()))


def start(sampler: FlowSampler, prompt_frames: int, frames: int, seed: int = 0) -> FlowState:
    generator = torch.Generator().manual_seed(seed)
    return sampler.start(
        torch.randn(1, frames, CONTENT, generator=generator),
        Mel(torch.randn(1, MEL, prompt_frames, generator=generator)),
        torch.randn(1, STYLE, generator=generator),
        draw_noise(seed, 0, MEL, frames),
    )


def run(sampler: FlowSampler, states: Sequence[FlowState]) -> list[Mel]:
    current = list(states)
    while not sampler.done(current[0]):
        current = sampler.step_batch(current)
    return [sampler.finish(state) for state in current]


def test_every_golden_array_is_within_tolerance() -> None:
    checks = check_cfm(golden_arrays("cfm.npz"), golden_context("cfm.npz"))
    assert failures(checks) == {}
    judged = {check.name for check in checks if not check.informative}
    assert {"cfm.npz:y_cfg0.7_steps10", "cfm.npz:y_cache3_diff", "cfm.npz:rows_cache5"} <= judged


def test_numbers_in_names_are_parsed() -> None:
    arrays = golden_arrays("cfm.npz")
    arrays["y_cfg0.7_steps4"] = arrays["y_cfg0.7_steps10"]
    arrays["rows_cache2"] = arrays["rows_cache3"]
    arrays["y_cfg0.7"] = arrays["y_cfg0"]
    failed = failures(check_cfm(arrays, golden_context("cfm.npz")))
    assert set(failed) == {"y_cfg0.7_steps4", "rows_cache2", "y_cfg0.7"}


def test_a_set_may_have_a_guidance_rate_of_its_own() -> None:
    arrays, ctx = golden_arrays("cfm.npz"), golden_context("cfm.npz")
    model = DiT(S2melConfig(**ctx.config["s2mel"]))
    load_filled("cfm", model, "s2mel/cfm", ctx)
    sampler = FlowSampler(model, steps=25, cfg_rate=0.5, cfg_cache_interval=4)
    inputs = {name: array for name, array in arrays.items() if name in INPUTS}
    mu, prompt, style, noise = tensors(inputs, "mu", "prompt", "style", "z")
    mel = run(sampler, [sampler.start(mu, Mel(prompt), style, noise)])[0]
    own = {"y_cfg0.5": arrays["z"], "y_cache4_diff": F.pad(mel, (prompt.shape[-1], 0)).numpy()}
    rows = {"rows_cache4": np.array(32), "rows_cache9": np.array(28)}
    failed = failures(check_cfm({**inputs, **own, **rows}, ctx))
    assert set(failed) == {"y_cfg0.5"}


@pytest.mark.parametrize("interval", [1, 3])
@pytest.mark.parametrize("rate", [0.0, 0.7])
def test_each_request_of_a_batch_gets_what_it_gets_alone(
    dit: DiT, rate: float, interval: int
) -> None:
    sampler = FlowSampler(dit, steps=6, cfg_rate=rate, cfg_cache_interval=interval)
    shapes = [(10, 31), (3, 12), (20, 22), (0, 5)]
    states = [start(sampler, *shape, seed=i) for i, shape in enumerate(shapes)]
    together = run(sampler, states)
    for state, mel, (prompt_frames, frames) in zip(states, together, shapes, strict=True):
        assert mel.shape == (1, MEL, frames - prompt_frames)
        assert torch.allclose(mel, run(sampler, [state])[0], atol=1e-4)


def test_requests_at_different_steps_share_an_evaluation(dit: DiT) -> None:
    sampler = FlowSampler(dit, steps=5, cfg_cache_interval=2)
    early, late = start(sampler, 4, 15, seed=1), start(sampler, 6, 20, seed=2)
    wanted = [run(sampler, [early])[0], run(sampler, [late])[0]]
    early = sampler.step(early)
    early, late = sampler.step_batch([early, late])
    early, late = sampler.step_batch([early, late])
    assert torch.allclose(run(sampler, [early])[0], wanted[0], atol=1e-4)
    assert torch.allclose(run(sampler, [late])[0], wanted[1], atol=1e-4)


def test_a_step_leaves_its_state_alone(dit: DiT) -> None:
    sampler = FlowSampler(dit, steps=3, cfg_cache_interval=2)
    first = start(sampler, 4, 12)
    x = first.x.clone()
    once, again = sampler.step(first), sampler.step(first)
    assert torch.equal(first.x, x)
    assert first.guidance is None
    assert torch.equal(once.x, again.x)
    assert not torch.equal(once.x, first.x)
    assert once.x[..., :4].abs().sum() == 0


@pytest.mark.parametrize(
    ("interval", "rate", "rows"), [(1, 0.7, 20), (2, 0.7, 15), (3, 0.7, 14), (2, 0.0, 10)]
)
def test_rows_are_saved_by_the_cache(dit: DiT, interval: int, rate: float, rows: int) -> None:
    sampler = FlowSampler(dit, steps=10, cfg_rate=rate, cfg_cache_interval=interval)
    state = start(sampler, 3, 9)
    while not sampler.done(state):
        state = sampler.step(state)
    assert state.rows == rows


def test_guidance_moves_away_from_the_unconditional_row(dit: DiT) -> None:
    plain, guided = (FlowSampler(dit, steps=1, cfg_rate=rate) for rate in (0.0, 0.5))
    state = start(plain, 3, 9)
    unguided, moved = plain.step(state), guided.step(state)
    assert moved.guidance is not None
    difference = moved.x[..., 3:] - unguided.x[..., 3:]
    assert torch.allclose(difference, 0.5 * moved.guidance, atol=1e-5)


def test_finish_and_step_know_when_it_is_over(dit: DiT) -> None:
    sampler = FlowSampler(dit, steps=1)
    state = start(sampler, 2, 6)
    with pytest.raises(ValueError, match="0 of 1 steps"):
        sampler.finish(state)
    state = sampler.step(state)
    assert sampler.finish(state).shape == (1, MEL, 4)
    with pytest.raises(ValueError, match="no step"):
        sampler.step(state)


@pytest.mark.parametrize(("prompt_frames", "frames"), [(6, 6), (7, 6)])
def test_a_prompt_without_a_target_is_refused(dit: DiT, prompt_frames: int, frames: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        start(FlowSampler(dit), prompt_frames, frames)


@pytest.mark.parametrize(("steps", "rate"), [(0, 0.7), (5, -0.1)])
def test_settings_without_meaning_are_refused(dit: DiT, steps: int, rate: float) -> None:
    with pytest.raises(ValueError, match="at least one step"):
        FlowSampler(dit, steps=steps, cfg_rate=rate)


def test_noise_depends_on_seed_and_chunk_alone() -> None:
    torch.manual_seed(1)
    first = draw_noise(3, 5, 4, 600)
    torch.manual_seed(2)
    assert torch.equal(first, draw_noise(3, 5, 4, 600))
    assert not torch.equal(first, draw_noise(5, 3, 4, 600))
    assert not torch.equal(first, draw_noise(3, 6, 4, 600))
    assert first.mean().abs() < 0.1
    assert 0.9 < first.std() < 1.1
