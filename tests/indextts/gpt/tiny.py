"""A small model with random weights, and requests for it."""

from __future__ import annotations

import torch
from torch import Tensor

from indextts.engines.base import SamplingParams
from indextts.gpt.config import ConditionSizes, GptSizes
from indextts.gpt.model import EmotiveGpt
from indextts.gpt.prompt import build_prompt
from indextts.tensors import Prompt


def tiny_sizes() -> GptSizes:
    def condition(out_width: int, latents: int) -> ConditionSizes:
        return ConditionSizes(
            in_features=24,
            width=16,
            hidden=32,
            heads=2,
            blocks=1,
            out_width=out_width,
            latents=latents,
        )

    return GptSizes(
        width=32,
        layers=2,
        heads=2,
        max_text_tokens=20,
        max_codes=60,
        text_tokens=30,
        code_tokens=40,
        start_text=0,
        stop_text=1,
        start_code=38,
        stop_code=39,
        speaker=condition(32, 4),
        emotion=condition(24, 1),
    )


def tiny_gpt(seed: int = 0) -> EmotiveGpt:
    """The stop code is drawn about every fifteenth time."""
    torch.manual_seed(seed)
    model = EmotiveGpt(tiny_sizes()).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "emb" in name and parameter.dim() == 2:
                parameter.mul_(0.5)
        model.mel_head.weight.mul_(3.0)
    return model


def conditions(model: EmotiveGpt, rows: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    width = model.sizes.width
    conds = torch.randn(rows, model.sizes.speaker.latents, width, generator=generator)
    return conds, torch.randn(rows, width, generator=generator)


def some_text(length: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2, 30, (1, length), generator=generator)


@torch.no_grad()
def some_prompt(model: EmotiveGpt, length: int = 8, seed: int = 0) -> Prompt:
    return build_prompt(model, *conditions(model, seed=seed), some_text(length, seed))


def some_params(
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    repetition_penalty: float = 1.0,
    seed: int = 0,
    max_codes: int = 40,
) -> SamplingParams:
    return SamplingParams(
        temperature=temperature,
        top_k=top_k,
        top_p=0.9,
        repetition_penalty=repetition_penalty,
        seed=seed,
        max_codes=max_codes,
    )
