"""Keys and shapes of the official file, prompts, and training."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml

from indextts.gpt.backbone import KeyValueCache
from indextts.gpt.model import merge_emotion
from indextts.gpt.prompt import build_prompt, latent_pass
from indextts.tensors import Codes, Features
from indextts.v2.config import ConditioningInput, GptConfig
from indextts.v2.gpt import build_gpt
from indextts.v2.weights import map_key
from tests.indextts.gpt.tiny import conditions, some_prompt, some_text, tiny_gpt

REFERENCE = Path(__file__).parents[3] / "../shared/reference/indextts2"
OFFICIAL = Path(os.environ.get("INDEXTTS_OFFICIAL_DIR", REFERENCE / "official"))


@pytest.mark.official
def test_keys_and_shapes_are_the_official_ones() -> None:
    listing, config = REFERENCE / "state_dict.json", OFFICIAL / "config.yaml"
    if not listing.is_file() or not config.is_file():
        pytest.skip("needs state_dict.json of the reference and the official config.yaml")
    gpt = GptConfig(**yaml.safe_load(config.read_text("utf-8"))["gpt"])
    with torch.device("meta"):
        model = build_gpt(gpt, ConditioningInput())
    wanted = {}
    for key, (shape, _dtype) in json.loads(listing.read_text())["gpt.pth"]["tensors"].items():
        turned = re.search(r"\.(c_attn|c_proj|c_fc)\.weight$", key)
        wanted[map_key("gpt", key)] = tuple(shape[::-1] if turned else shape)
    wanted.pop(None)
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == wanted


def test_a_prompt_holds_conditions_text_and_start_code() -> None:
    model = tiny_gpt()
    conds, emotion = conditions(model)
    prompt = build_prompt(model, conds, emotion, some_text(5))
    latents = conds.shape[1]
    assert prompt.shape == (1, latents + 2 + 5 + 2 + 1, model.sizes.width)
    torch.testing.assert_close(prompt[:, :latents], conds + emotion)
    torch.testing.assert_close(prompt[0, latents], model.speed_emb.weight[1])
    start = model.mel_embedding.weight[38] + model.mel_pos_embedding.emb.weight[0]
    torch.testing.assert_close(prompt[0, -1], start)


def test_a_prompt_may_have_no_text_but_not_too_much() -> None:
    model = tiny_gpt()
    conds, emotion = conditions(model)
    assert build_prompt(model, conds, emotion, some_text(0)).shape[1] == conds.shape[1] + 5
    limit = model.sizes.max_text_tokens
    assert build_prompt(model, conds, emotion, some_text(limit)).shape[1] == model.sizes.max_prompt
    with pytest.raises(ValueError, match="at most 20"):
        build_prompt(model, conds, emotion, some_text(limit + 1))


def test_the_latent_pass_refuses_too_many_codes() -> None:
    model = tiny_gpt()
    with pytest.raises(ValueError, match="at most 62"):
        latent_pass(model, some_prompt(model), Codes(torch.zeros(1, 63, dtype=torch.long)))


def test_emotions_merge_by_weight() -> None:
    model = tiny_gpt()
    _, emotions = conditions(model, rows=2)
    own, other = emotions[:1], emotions[1:]
    assert torch.equal(merge_emotion(own, other, 0.0), own)
    torch.testing.assert_close(merge_emotion(own, other, 1.0), other)
    torch.testing.assert_close(merge_emotion(own, other, 0.5), (own + other) / 2)


@torch.no_grad()
def test_recordings_of_a_batch_are_heard_as_if_alone() -> None:
    model = tiny_gpt()
    features = Features(torch.randn(2, 31, 24))
    lengths = torch.tensor([31, 18])
    alone = Features(features[1:, :18])
    torch.testing.assert_close(
        model.conditioning(features, lengths)[1:], model.conditioning(alone), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        model.emotion_vector(features, lengths)[1:],
        model.emotion_vector(alone),
        atol=1e-5,
        rtol=0,
    )


def test_the_model_learns() -> None:
    model = tiny_gpt().train()
    features = Features(torch.randn(1, 21, 24))
    codes = torch.cat((torch.arange(9), torch.tensor([model.sizes.stop_code])))[None]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        conds, emotion = model.conditioning(features), model.emotion_vector(features)
        prompt = build_prompt(model, conds, emotion, some_text(7, 2))
        states = latent_pass(model, prompt, Codes(codes))
        loss = F.cross_entropy(model.mel_head(states).transpose(1, 2), codes)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    untouched = {name for name, value in model.named_parameters() if value.grad is None}
    assert untouched == set()
    assert losses[-1] < losses[0] / 3


@torch.no_grad()
def test_decoding_rows_of_any_lengths_equals_the_whole_sequence() -> None:
    model = tiny_gpt()
    lengths, steps = [7, 12, 9], 5
    sequences = [torch.randn(1, length + steps, 32) for length in lengths]
    cache = KeyValueCache(model.gpt, rows=4, positions=20)
    for row, (sequence, length) in enumerate(zip(sequences, lengths, strict=True)):
        model.gpt(sequence[:, :length], cache.prefill(row))
    for step in range(steps):
        places = [length + step for length in lengths]
        new = torch.cat(
            [sequence[:, at : at + 1] for sequence, at in zip(sequences, places, strict=True)]
        )
        states = model.gpt(new, cache.decode(places))
        for row, (sequence, at) in enumerate(zip(sequences, places, strict=True)):
            whole = model.gpt(sequence[:, : at + 1])[0, -1]
            torch.testing.assert_close(states[row, 0], whole, atol=1e-5, rtol=0)
