"""Golden sets of the autoregressive part: conditioning.npz, gpt.npz, sampling.npz."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from indextts.checks import Check
from indextts.goldens.arrays import Arrays, GoldenContext, compare, judge
from indextts.goldens.v2 import load_filled
from indextts.gpt.backbone import KeyValueCache
from indextts.gpt.model import EmotiveGpt, merge_emotion
from indextts.gpt.prompt import build_prompt, condition_prefix, latent_pass
from indextts.gpt.sampling import SamplingRows, distribution
from indextts.tensors import Codes, Features, Prompt
from indextts.v2.config import ConditioningInput, GptConfig
from indextts.v2.gpt import build_gpt

# What sampling.npz was computed with, besides the temperatures in its names.
_TOP_K, _TOP_P, _PENALTY = 30, 0.8, 10.0


@torch.no_grad()
def check_conditioning(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """Conformers, perceivers and the emotion merge (specification 6.1 to 6.3)."""
    model = _model(ctx)
    speaker, emotion = (Features(torch.from_numpy(arrays[name])) for name in ("spk", "emo"))
    got = _speaker_path(model, speaker) | _emotion_path(model, emotion)
    own, other = model.emotion_vector(speaker), model.emotion_vector(emotion)
    got |= {"emovec_spk": own, "emovec_emo": other}
    for name in arrays:
        if match := re.fullmatch(r"emovec_merged_a([\d.]+)", name):
            got[name] = merge_emotion(own, other, float(match[1]))
    checks: list[Check] = []
    if "batch_in" in arrays:
        batch, checks = _batch(model, arrays, ctx)
        got |= batch
    return judge(arrays, got, {"spk", "emo", "batch_in", "batch_lens"}, ctx) + checks


@torch.no_grad()
def check_gpt(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """Prompt, greedy decoding with the cache, and the latent pass (specification 6.4, 6.6)."""
    model = _model(ctx)
    conds, emotion, text_ids = (
        torch.from_numpy(arrays[name]) for name in ("conds", "emovec", "text_ids")
    )
    prompt = build_prompt(model, conds, emotion, text_ids)
    got = {
        "cond_seq": condition_prefix(model, conds, emotion),
        "A_prefill_emb": prompt,
        "A_prefill_hidden_lnf": model.gpt(prompt),
    }
    got |= _decode_greedily(model, prompt, len(arrays["A_tokens"]))
    got["latent_codes"] = got["A_tokens"][None]
    codes = Codes(torch.from_numpy(arrays["latent_codes"]))
    got["latent_out"] = latent_pass(model, prompt, codes)
    return judge(arrays, got, {"conds", "emovec", "text_ids"}, ctx)


@torch.no_grad()
def check_sampling(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """What codes are drawn from (specification 6.5)."""
    logits, history = (torch.from_numpy(arrays[name]) for name in ("logits", "history"))
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(1, history, True)
    got = {}
    for name in arrays:
        if match := re.fullmatch(r"probs_t([\d.]+)_raw", name):
            rows = [(float(match[1]), _TOP_K, _TOP_P, _PENALTY)] * logits.shape[0]
            settings = SamplingRows.of(rows, logits.shape[1], logits.device)
            got[name] = distribution(logits, seen, settings)
    return judge(arrays, got, {"logits", "history"}, ctx)


def _model(ctx: GoldenContext) -> EmotiveGpt:
    features = ConditioningInput(**ctx.config.get("conditioning_input", {}))
    model = build_gpt(GptConfig(**ctx.config["gpt"]), features)
    load_filled("gpt", model, "gpt", ctx)
    return model


def _speaker_path(model: EmotiveGpt, features: Features) -> dict[str, Tensor]:
    """The stages from a speaker's features to the latents of the prompt."""
    got: dict[str, Tensor] = {}
    encoder = model.conditioning_encoder

    def keep(name: str, module: nn.Module) -> None:
        module.register_forward_hook(lambda _module, _inputs, output: got.update({name: output}))

    keep("conf_embed", encoder.embed)
    for index, block in enumerate(encoder.encoders):
        keep(f"conf_block{index}", block)
    states, valid = encoder(features)
    got |= {"conf_out": states, "conf_mask": valid[:, None]}
    got["perceiver_out"] = model.perceiver_encoder(states, valid)
    stages = dict(got)  # the hooks keep writing into the other one
    return stages | {"conds": model.conditioning(features)}


def _emotion_path(model: EmotiveGpt, features: Features) -> dict[str, Tensor]:
    """The stages from an emotion's features to its vector."""
    states, valid = model.emo_conditioning_encoder(features)
    heard = model.emo_perceiver_encoder(states, valid)[:, 0]
    return {
        "emo_conf_out": states,
        "emo_perceiver_out": heard,
        "emovec_layer_out": model.emovec_layer(heard),
    }


def _batch(
    model: EmotiveGpt, arrays: Arrays, ctx: GoldenContext
) -> tuple[dict[str, Tensor], list[Check]]:
    """A padded batch, and a check per row: a full row against the golden one, a shorter one alone.

    The originals let padding leak into shorter rows, so the arrays themselves are informative.
    """
    batch = torch.from_numpy(arrays["batch_in"])
    lengths = torch.from_numpy(arrays["batch_lens"]).clamp(max=batch.shape[1])
    states, valid = model.conditioning_encoder(batch, lengths)
    conds = model.perceiver_encoder(states, valid)
    checks = []
    for row, length in enumerate(lengths.tolist()):
        kept = int(valid[row].sum())
        if length == batch.shape[1]:
            want = arrays["batch_conf_out"][row, :kept], arrays["batch_conds"][row]
        else:
            alone, heard = model.conditioning_encoder(batch[row : row + 1, :length])
            want = alone[0].numpy(), model.perceiver_encoder(alone, heard)[0].numpy()
        checks.append(compare(f"batch_conf_out[{row}]", states[row, :kept], want[0], ctx))
        checks.append(compare(f"batch_conds[{row}]", conds[row], want[1], ctx))
    got = {"batch_conf_out": states, "batch_mask": valid[:, None], "batch_conds": conds}
    return got, checks


def _decode_greedily(model: EmotiveGpt, prompt: Prompt, steps: int) -> dict[str, Tensor]:
    """``steps`` most likely codes, the stop code being one like any other."""
    positions = prompt.shape[1]
    cache = KeyValueCache(model.gpt, rows=1, positions=positions + steps)
    states = [model(prompt, cache.prefill(0))[:, -1]]
    logits = [model.mel_head(states[0])]
    for step in range(1, steps):
        code = logits[-1].argmax(-1, keepdim=True)
        embedded = model.embed_codes(code, torch.full_like(code, step))
        states.append(model(embedded, cache.decode([positions + step - 1]))[:, -1])
        logits.append(model.mel_head(states[-1]))
    chosen = torch.cat(logits)
    return {"A_tokens": chosen.argmax(-1), "A_logits": chosen, "A_hidden": torch.cat(states)}
