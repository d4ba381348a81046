"""BigVGAN: goldens, and slices that join to what the whole mel gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from indextts.goldens.v2_s2mel import check_bigvgan, check_official_bigvgan
from indextts.tensors import Mel
from indextts.v2.config import BigvganConfig
from indextts.v2.vocoder import BigVGAN
from tests.indextts.v2.goldens import failures, golden_arrays, golden_context
from tests.indextts.v2.lively import lively

SMALL = BigvganConfig(
    num_mels=6,
    upsample_rates=(4, 3, 2),
    upsample_kernel_sizes=(8, 5, 4),
    upsample_initial_channel=16,
    resblock_kernel_sizes=(3, 5),
    resblock_dilation_sizes=((1, 3), (1,)),
)


@pytest.fixture(scope="module")
def vocoder() -> BigVGAN:
    return lively("bigvgan", BigVGAN(SMALL))


def some_mel(frames: int, channels: int = 6) -> Mel:
    generator = torch.Generator().manual_seed(frames)
    return Mel(torch.randn(1, channels, frames, generator=generator))


def test_every_golden_array_is_within_tolerance() -> None:
    checks = check_bigvgan(golden_arrays("bigvgan.npz"), golden_context("bigvgan.npz"))
    assert failures(checks) == {}
    assert len(checks) >= 6


@pytest.mark.slow
def test_official_size_is_within_tolerance() -> None:
    checks = check_official_bigvgan(
        golden_arrays("official_bigvgan.npz"), golden_context("official_bigvgan.npz")
    )
    assert failures(checks) == {}
    assert len(checks) >= 8


@pytest.mark.parametrize("sizes", [[1], [3, 5], [7], [16], [5, 10, 20], [39], [40], [500]])
@torch.no_grad()
def test_joined_slices_equal_the_whole(vocoder: BigVGAN, sizes: list[int]) -> None:
    mel = some_mel(40)
    whole = vocoder(mel)
    pieces: list[Tensor] = [work() for work in vocoder.vocode_slices(mel, sizes)]
    assert torch.allclose(torch.cat(pieces, dim=-1), whole, atol=1e-5)
    lengths = [piece.shape[-1] // vocoder.hop for piece in pieces]
    assert lengths[0] == min(sizes[0], 40)
    assert sum(lengths) == 40
    assert whole.std() > 0.01


@pytest.mark.parametrize("frames", [1, 2, 5])
@torch.no_grad()
def test_a_mel_shorter_than_the_context(vocoder: BigVGAN, frames: int) -> None:
    mel = some_mel(frames)
    pieces: list[Tensor] = [work() for work in vocoder.vocode_slices(mel, [1])]
    assert torch.allclose(torch.cat(pieces, dim=-1), vocoder(mel), atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"upsample_rates": (8, 2), "upsample_kernel_sizes": (16, 4)},
        {"resblock_kernel_sizes": (7,), "resblock_dilation_sizes": ((1, 3, 5),)},
    ],
)
def test_context_is_exactly_the_receptive_field(changes: dict[str, object]) -> None:
    small = BigvganConfig.model_validate({**SMALL.model_dump(), **changes})
    model = lively("bigvgan", BigVGAN(small)).double()
    middle = model.context_frames + 3
    mel = some_mel(2 * middle + 1).double().requires_grad_()
    frame = model(mel)[0, 0, middle * model.hop : (middle + 1) * model.hop]
    weights = torch.linspace(1, 2, frame.numel(), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((frame * weights).sum(), mel)
    touched = gradient[0].abs().sum(0).nonzero().flatten()
    assert touched.min() == middle - model.context_frames
    assert touched.max() == middle + model.context_frames


def test_slices_are_lazy_and_do_not_depend_on_order(vocoder: BigVGAN) -> None:
    mel = some_mel(30)
    items = list(vocoder.vocode_slices(mel, [10]))
    last_first = [work() for work in reversed(items)]
    in_order = [work() for work in items]
    assert all(torch.equal(a, b) for a, b in zip(reversed(last_first), in_order, strict=True))


@pytest.mark.parametrize("sizes", [[], [0], [4, -1]])
def test_sizes_without_frames_are_refused(vocoder: BigVGAN, sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        list(vocoder.vocode_slices(some_mel(5), sizes))


@pytest.mark.parametrize(("rate", "kernel"), [(4, 7), (4, 2)])
def test_kernels_that_do_not_fit_a_rate_are_refused(rate: int, kernel: int) -> None:
    config = BigvganConfig(upsample_rates=(rate,), upsample_kernel_sizes=(kernel,))
    with pytest.raises(ValueError, match="cannot use kernel"):
        BigVGAN(config)


def test_it_learns() -> None:
    torch.manual_seed(0)
    model = BigVGAN(SMALL).train()
    mel, target = some_mel(8).repeat(2, 1, 1), torch.randn(2, 1, 8 * model.hop) / 10
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(4):
        loss = (model(mel) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(parameter.grad is not None for parameter in model.parameters())
