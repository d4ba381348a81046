"""From conditioning and text to the embeddings the GPT reads (specification 6.4, 6.6).

The order is the one of training: speaker latents with the emotion added, two speed embeddings,
text with start and stop, start code; the k-th code takes position k + 1 (rule A).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from indextts.gpt.model import EmotiveGpt
from indextts.tensors import Codes, Latents, Prompt


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForcedStates:
    """States over known texts and codes, padded on the right.

    ``text [B, L + 1, C]``: state ``i`` predicts text token ``i``, the last one the stop.
    ``codes [B, S + 1, C]``: state ``i`` predicts code ``i``, the last one the stop code.
    """

    text: Tensor
    codes: Tensor


def condition_prefix(model: EmotiveGpt, conds: Tensor, emotion: Tensor) -> Tensor:
    """``conds [B, N, C]``, ``emotion [B, C]`` -> ``[B, N + 2, C]``."""
    speed = model.speed_emb.weight.flip(0).expand(conds.shape[0], -1, -1)
    return torch.cat((conds + emotion[:, None], speed), dim=1)


def build_prompt(model: EmotiveGpt, conds: Tensor, emotion: Tensor, text_ids: Tensor) -> Prompt:
    """``conds [1, N, C]``, ``emotion [1, C]``, ids int64 ``[1, L]`` -> ``[1, N + L + 5, C]``.

    Raises ``ValueError`` when there are more text tokens than the model has positions for.
    """
    sizes = model.sizes
    if text_ids.shape[1] > sizes.max_text_tokens:
        raise ValueError(f"{text_ids.shape[1]} text tokens; at most {sizes.max_text_tokens} fit")
    framed = F.pad(F.pad(text_ids, (1, 0), value=sizes.start_text), (0, 1), value=sizes.stop_text)
    start = text_ids.new_full((text_ids.shape[0], 1), sizes.start_code)
    parts = (
        condition_prefix(model, conds, emotion),
        model.embed_text(framed),
        model.embed_codes(start, torch.zeros_like(start)),
    )
    return Prompt(torch.cat(parts, dim=1))


def _with_codes(model: EmotiveGpt, prompt: Tensor, codes: Tensor) -> Tensor:
    """The prompt with all codes behind it: ``[1, P, C]``, ``[1, S]`` -> ``[1, P + S, C]``.

    Raises ``ValueError`` when there are more codes than the model has positions for.
    """
    count, most = codes.shape[1], model.mel_pos_embedding.emb.num_embeddings - 1
    if count > most:
        raise ValueError(f"{count} codes; at most {most} fit")
    places = torch.arange(1, count + 1, device=codes.device)
    return torch.cat((prompt, model.embed_codes(codes, places)), dim=1)


def latent_pass(model: EmotiveGpt, prompt: Prompt, codes: Codes) -> Latents:
    """The states that predict each code, by one pass over prompt and codes.

    ``prompt [1, P, C]``, ``codes [1, S]`` -> float32 ``[1, S, C]``. Equal to the states an engine
    kept while it decoded; the codes' end does not matter to them, so no stop code is appended.
    """
    states = model(_with_codes(model, prompt, codes))
    first = prompt.shape[1] - 1
    return Latents(states[:, first : first + codes.shape[1]].float())


def teacher_forced(
    model: EmotiveGpt,
    conds: Tensor,
    emotions: Tensor,
    texts: Sequence[Tensor],
    codes: Sequence[Tensor],
) -> ForcedStates:
    """States of a batch of known utterances, for training.

    ``conds [B, N, C]``, ``emotions [B, C]``, ``texts`` and ``codes`` int64 ``[L_i]`` and ``[S_i]``
    without start and stop.
    """
    prompts = [
        build_prompt(model, conds[i : i + 1], emotions[i : i + 1], text[None])
        for i, text in enumerate(texts)
    ]
    rows = [
        _with_codes(model, prompt, code[None])[0]
        for prompt, code in zip(prompts, codes, strict=True)
    ]
    states = model(pad_sequence(rows, batch_first=True))
    ends = [prompt.shape[1] - 1 for prompt in prompts]
    begin = ends[0] - len(texts[0]) - 2
    spoken = [
        states[i, end : len(row)] for i, (end, row) in enumerate(zip(ends, rows, strict=True))
    ]
    written = [states[i, begin : end - 1] for i, end in enumerate(ends)]
    return ForcedStates(
        text=pad_sequence(written, batch_first=True), codes=pad_sequence(spoken, batch_first=True)
    )
