"""The distribution codes are drawn from, the draw, and the helper that sees loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from indextts.gpt.sampling import SamplingRows, distribution, draw, looped_tail

CODES = 50


def logits_and_seen(rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, CODES, generator=generator) * 3
    return logits, torch.rand(rows, CODES, generator=generator) < 0.2


def settings(*rows: tuple[float, int, float, float]) -> SamplingRows:
    return SamplingRows.of(rows, CODES, torch.device("cpu"))


def expected(logits: list[float], seen: list[bool], row: tuple[float, int, float, float]) -> Tensor:
    """The specification, word by word, for one row with distinct logits."""
    temperature, top_k, top_p, penalty = row
    values = [
        (value / penalty if value > 0 else value * penalty) if again else value
        for value, again in zip(logits, seen, strict=True)
    ]
    order = sorted(range(len(values)), key=lambda code: -values[code])
    order = order[: top_k or len(order)]
    weights = [math.exp((values[code] - values[order[0]]) / temperature) for code in order]
    total, mass, kept = sum(weights), 0.0, []
    for code, weight in zip(order, weights, strict=True):
        kept.append((code, weight))
        mass += weight / total
        if mass >= top_p:
            break
    result = torch.zeros(len(values))
    for code, weight in kept:
        result[code] = weight / sum(weight for _, weight in kept)
    return result


ROWS = [
    (0.8, 30, 0.8, 10.0),
    (1.0, 0, 0.95, 1.0),
    (1.5, 7, 1.0, 2.0),
    (0.5, 1, 0.5, 1.0),
    (1.0, 500, 0.01, 5.0),
]


def test_rows_of_different_settings_follow_the_specification() -> None:
    logits, seen = logits_and_seen(len(ROWS))
    got = distribution(logits, seen, settings(*ROWS))
    for index, row in enumerate(ROWS):
        want = expected(logits[index].tolist(), seen[index].tolist(), row)
        torch.testing.assert_close(got[index], want, atol=1e-6, rtol=0)


def test_a_row_is_not_changed_by_its_company() -> None:
    logits, seen = logits_and_seen(len(ROWS))
    together = distribution(logits, seen, settings(*ROWS))
    for index, row in enumerate(ROWS):
        alone = distribution(logits[index][None], seen[index][None], settings(row))
        torch.testing.assert_close(together[index], alone[0], atol=1e-7, rtol=0)
        picked = settings(*ROWS).row(index)
        again = distribution(logits[index][None], seen[index][None], picked)
        torch.testing.assert_close(again[0], alone[0], atol=1e-7, rtol=0)


def test_temperature_zero_is_greedy_after_the_penalty() -> None:
    logits = torch.zeros(1, CODES)
    logits[0, 3], logits[0, 4] = 5.0, 4.0
    seen = torch.zeros(1, CODES, dtype=torch.bool)
    rows = settings((0.0, 0, 1.0, 10.0))
    last = torch.tensor([0.999])
    assert draw(logits, seen, rows, last).item() == 3
    seen[0, 3] = True
    assert draw(logits, seen, rows, last).item() == 4


def test_draws_follow_the_distribution() -> None:
    logits, seen = logits_and_seen(1)
    row = (0.9, 20, 0.9, 2.0)
    want = distribution(logits, seen, settings(row))[0]
    count = 4000
    uniform = (torch.arange(count) + 0.5) / count
    rows = settings(*[row] * count)
    codes = draw(logits.expand(count, -1), seen.expand(count, -1), rows, uniform)
    shares = codes.bincount(minlength=CODES) / count
    torch.testing.assert_close(shares, want, atol=2 / count, rtol=0)


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-24])
def test_no_code_without_a_chance_is_drawn(uniform: float) -> None:
    logits, seen = logits_and_seen(64, seed=1)
    rows = settings(*[(1.0, 30, 0.8, 10.0)] * 64)
    codes = draw(logits, seen, rows, torch.full((64,), uniform))
    assert (distribution(logits, seen, rows).gather(1, codes[:, None]) > 0).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_bad_numbers_give_no_code_and_leave_the_others_alone(bad: float) -> None:
    logits, seen = logits_and_seen(2)
    rows = settings(ROWS[0], ROWS[0])
    uniform = torch.tensor([0.3, 0.3])
    fine = draw(logits, seen, rows, uniform)
    logits[0, 5] = bad
    assert draw(logits, seen, rows, uniform).tolist() == [-1, fine[1].item()]


@pytest.mark.parametrize(
    ("codes", "length"),
    [
        ([], 0),
        ([1], 0),
        ([1, 2, 3, 4], 0),
        ([9, 5, 5], 2),
        ([9, 1, 2, 1, 2, 1, 2], 6),
        ([9, 1, 2, 1, 2, 1], 5),
        ([*range(9), *range(9)], 0),
        ([*range(8), *range(8)], 16),
        ([7] * 100, 100),
    ],
)
def test_the_looped_tail_is_measured(codes: list[int], length: int) -> None:
    assert looped_tail(codes) == length
