"""Rows that decode together give what each gives alone, whoever joins and leaves."""

from __future__ import annotations

import math
import random

import pytest
import torch

from indextts.engines.decode_batch import DecodeBatch, Row
from indextts.gpt.prompt import latent_pass
from indextts.tensors import Prompt
from tests.indextts.engines.conftest import alone, assert_same
from tests.indextts.gpt.tiny import some_params, some_prompt, tiny_gpt

POSITIONS = 100


@pytest.mark.parametrize("seed", range(6))
def test_rows_in_random_company_equal_rows_alone(seed: int) -> None:
    dice = random.Random(seed)
    model = tiny_gpt(seed)
    batch = DecodeBatch(model, rows=4, positions=POSITIONS)
    live: list[tuple[Row, Prompt]] = []
    done: list[tuple[Row, Prompt]] = []
    left = 16
    while left or live:
        if left and len(live) < 4 and dice.random() < 0.4:
            left -= 1
            params = some_params(
                temperature=dice.choice([0.0, 0.7, 1.2]),
                top_k=dice.choice([0, 5, 30]),
                repetition_penalty=dice.choice([1.0, 3.0]),
                seed=dice.randrange(1 << 40),
                max_codes=dice.randint(1, 40),
            )
            row, prompt = Row(params=params), some_prompt(model, dice.randint(0, 15), left)
            batch.join(row, prompt)
            live.append((row, prompt))
        for row, _ in live:
            row.abandoned = row.abandoned or dice.random() < 0.01
        batch.step()
        done += [pair for pair in live if pair[0].ended and not pair[0].abandoned]
        live = [pair for pair in live if not pair[0].ended and not pair[0].abandoned]
    assert len(done) > 8
    for row, prompt in done:
        assert row.outcome is not None
        assert_same(row.outcome, alone(model, prompt, row.params))


def test_latents_equal_the_second_pass() -> None:
    model = tiny_gpt()
    for seed in range(4):
        prompt = some_prompt(model, 6, seed)
        generation = alone(model, prompt, some_params(seed=seed))
        with torch.no_grad():
            again = latent_pass(model, prompt, generation.codes)
        torch.testing.assert_close(generation.latents, again, atol=1e-5, rtol=0)
        assert generation.latents.dtype == torch.float32


def test_the_stop_code_ends_and_is_left_out() -> None:
    model = tiny_gpt()
    with torch.no_grad():
        model.mel_head.bias[model.sizes.stop_code] = 1e3
    generation = alone(model, some_prompt(model), some_params())
    assert generation.stopped
    assert generation.codes.shape == (1, 0)
    assert generation.latents.shape == (1, 0, 32)


def test_the_budget_ends_without_a_stop() -> None:
    model = tiny_gpt()
    with torch.no_grad():
        model.mel_head.bias[model.sizes.stop_code] = -1e3
    generation = alone(model, some_prompt(model), some_params(max_codes=60))
    assert not generation.stopped
    assert generation.codes.shape == (1, 60)


def test_the_penalty_counts_generated_codes_only() -> None:
    model = tiny_gpt()
    with torch.no_grad():
        model.mel_head.weight.zero_()
        model.mel_head.bias.copy_(torch.linspace(10, 1, 40))
    params = some_params(temperature=0.0, repetition_penalty=100.0, max_codes=12)
    assert alone(model, some_prompt(model), params).codes.tolist() == [[*range(12)]]


def test_seeds_alone_decide() -> None:
    model = tiny_gpt()
    prompt = some_prompt(model)
    runs = [
        alone(model, prompt, some_params(seed=seed, top_k=0)) for seed in (1, 1, 2, -1, 1 << 70)
    ]
    assert_same(runs[0], runs[1])
    assert len({str(run.codes.tolist()) for run in runs}) == 4


def test_a_row_with_bad_numbers_harms_neither_company_nor_successor() -> None:
    model = tiny_gpt()
    batch = DecodeBatch(model, rows=2, positions=POSITIONS)
    prompts = some_prompt(model, 15), some_prompt(model, 2)
    company, bad, successor = (Row(params=some_params(seed=seed)) for seed in range(3))
    batch.join(company, prompts[0])
    batch.join(bad, Prompt(torch.full((1, 60, 32), math.nan)))
    assert bad.broken and bad.ended and bad.outcome is None
    batch.join(successor, prompts[1])
    while not (company.ended and successor.ended):
        batch.step()
    for row, prompt in zip((company, successor), prompts, strict=True):
        assert row.outcome is not None
        assert_same(row.outcome, alone(model, prompt, row.params))


def test_sixteen_bits_serve_too() -> None:
    model = tiny_gpt().to(torch.bfloat16)
    generation = alone(model, some_prompt(model), some_params())
    assert generation.latents.dtype == torch.float32
    assert generation.codes.shape[1] == generation.latents.shape[1]


def test_a_step_of_nobody_does_nothing() -> None:
    model = tiny_gpt()
    batch = DecodeBatch(model, rows=1, positions=POSITIONS)
    batch.step()
    row = Row(params=some_params(max_codes=2))
    batch.join(row, some_prompt(model))
    row.abandoned = True
    batch.step()
    assert len(row.codes) <= 1
