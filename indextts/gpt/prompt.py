"""From conditioning and text to the embeddings the GPT reads (specification 6.4, 6.6).

The order is the one of training: speaker latents with the emotion added, two speed embeddings,
text with start and stop, start code; the k-th code takes position k + 1 (rule A).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from indextts.gpt.model import CodeGpt, EmotiveGpt
from indextts.tensors import Codes, Latents, Prompt


def condition_prefix(model: EmotiveGpt, conds: Tensor, emotion: Tensor) -> Tensor:
    """``conds [B, N, C]``, ``emotion [B, C]`` -> ``[B, N + 2, C]``."""
    speed = model.speed_emb.weight.flip(0).expand(conds.shape[0], -1, -1)
    return torch.cat((conds + emotion[:, None], speed), dim=1)


def build_prompt(model: EmotiveGpt, conds: Tensor, emotion: Tensor, text_ids: Tensor) -> Prompt:
    """``conds [1, N, C]``, ``emotion [1, C]``, ids int64 ``[1, L]`` -> ``[1, N + L + 5, C]``.

    Raises ``ValueError`` when there are more text tokens than the model has positions for.
    """
    return frame_text(model, condition_prefix(model, conds, emotion), text_ids)


def frame_text(
    model: CodeGpt, prefix: Tensor, text_ids: Tensor, *, stop_text: bool = True
) -> Prompt:
    """The text between its start and stop tokens, after ``prefix`` and before the start code.

    ``prefix [1, N, C]``, ids int64 ``[1, L]`` -> ``[1, N + L + 3, C]``, one less without
    ``stop_text``. Raises ``ValueError`` when there are more text tokens than positions for them.
    """
    sizes = model.sizes
    if text_ids.shape[1] > sizes.max_text_tokens:
        raise ValueError(f"{text_ids.shape[1]} text tokens; at most {sizes.max_text_tokens} fit")
    framed = F.pad(text_ids, (1, 0), value=sizes.start_text)
    framed = F.pad(framed, (0, 1), value=sizes.stop_text) if stop_text else framed
    start = text_ids.new_full((text_ids.shape[0], 1), sizes.start_code)
    parts = (
        prefix,
        model.embed_text(framed),
        model.embed_codes(start, torch.zeros_like(start)),
    )
    return Prompt(torch.cat(parts, dim=1))


def latent_pass(model: CodeGpt, prompt: Prompt, codes: Codes) -> Latents:
    """The states that predict each code, by one pass over prompt and codes.

    ``prompt [1, P, C]``, ``codes [1, S]`` -> float32 ``[1, S, C]``. Equal to the states an engine
    kept while it decoded; the codes' end does not matter to them, so no stop code is appended.
    Raises ``ValueError`` when there are more codes than the model has positions for.
    """
    count, most = codes.shape[1], model.mel_pos_embedding.emb.num_embeddings - 1
    if count > most:
        raise ValueError(f"{count} codes; at most {most} fit")
    places = torch.arange(1, count + 1, device=codes.device)
    states = model(torch.cat((prompt, model.embed_codes(codes, places)), dim=1))
    first = prompt.shape[1] - 1
    return Latents(states[:, first : first + count].float())
