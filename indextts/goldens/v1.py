"""Golden sets of IndexTTS 1, judged file by file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from indextts.audio.resample import sinc_resample
from indextts.blocks.alias_free import AntiAliasedSnakeBeta, kaiser_sinc_filter
from indextts.checks import Check
from indextts.goldens.arrays import Arrays, GoldenContext, Naming, capture, judge, load_filled
from indextts.gpt.backbone import KeyValueCache
from indextts.gpt.prompt import latent_pass
from indextts.tensors import Codes
from indextts.v1.config import Layout, V1Config
from indextts.v1.gpt import V1Gpt
from indextts.v1.vocoder import BigVGAN
from indextts.v1.voice import build_mel
from indextts.v1.weights import PARTS

NAMING: Mapping[str, Naming] = {
    "gpt": Naming(rules=PARTS["gpt"], gpt2=True),
    "bigvgan": Naming(
        rules=PARTS["bigvgan"],
        official=(
            (r"^ups\.(\d+)\.", r"ups.\1.0."),
            (r"\.(alpha|beta)$", r".act.\1"),
            (r"\.asp_bn\.", ".asp_bn.norm."),
            (r"(se_block\.conv[12]|\.fc)\.", r"\1.conv."),
            (r"\.(tdnn\d?|blocks\.\d+|mfa|asp)\.(conv|norm)\.", r".\1.\2.\2."),
        ),
        weight_norm=r"(^conv_pre|^conv_post|^ups\.\d+\.\d+|\.convs[12]\.\d+)\.weight$",
    ),
}
"""How the official files name and store each part."""

_INPUTS = ("text_ids", "cond")
_LAYOUTS: Mapping[str, Layout] = {
    "hf_nocache": "trained",
    "hf_cache": "upstream_cache",
    "vllm": "index_tts_vllm",
}


def check_mel(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """Resampling and spectra of recordings (specification 2)."""
    config = V1Config.model_validate(ctx.config).dataset.mel
    to_mel = build_mel(config)
    got: dict[str, Tensor] = {"mel_filterbank": to_mel.basis.T}
    for name in arrays:
        if match := re.fullmatch(r"wav_(\d+)", name):
            wave = torch.from_numpy(arrays[name])[None]
            resampled = sinc_resample(wave, int(match[1]), config.sample_rate)
            got[f"resampled_{match[1]}"] = resampled[0]
            got[f"mel_{match[1]}"] = to_mel(resampled)[0]
    if "stereo" in arrays:
        mono = torch.from_numpy(arrays["stereo"]).mean(0)
        got |= {"stereo_mono": mono, "stereo_mel": to_mel(mono[None])[0]}
    return judge(arrays, got, [n for n in arrays if n.startswith("wav_") or n == "stereo"], ctx)


def check_conditioning(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """Conformer and perceiver, alone and mixed (specification 3)."""
    model = _gpt(ctx)
    encoder = model.conditioning_encoder
    got: dict[str, Tensor] = {}
    watched: dict[str, nn.Module] = {
        "subsample": encoder.embed,
        "block0": encoder.encoders[0],
        "conformer": encoder.after_norm,
    }
    inputs = [name for name in arrays if re.fullmatch(r"mel_\d+", name)]
    for name in inputs:
        number = name.removeprefix("mel_")
        with capture(watched) as seen:
            got[f"cond_{number}"] = model.conditioning(_frames(arrays, name))[0]
        got |= {f"{stage}_{number}": value for stage, value in _first(seen).items()}
    for name in arrays:
        if name.startswith("cond_mix_"):
            numbers = name.removeprefix("cond_mix_").split("_")
            got[name] = torch.stack([got[f"cond_{number}"] for number in numbers]).mean(0)
    return judge(arrays, got, inputs, ctx)


def check_gpt(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """Prompts and greedy decoding in all three layouts (specification 4)."""
    got: dict[str, Tensor] = {}
    texts = sorted({name.split("_")[0] for name in arrays})
    for rule, layout in _LAYOUTS.items():
        model = _gpt(ctx, layout)
        for text in texts:
            steps = len(arrays[f"{text}_{rule}_codes"])
            made = _decode(model, *_text(arrays, text), steps)
            got |= {f"{text}_{rule}_{name}": value for name, value in made.items()}
    return judge(arrays, got, [f"{text}_{kind}" for text in texts for kind in _INPUTS], ctx)


def check_latent(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """The states that predict given codes (specification 5)."""
    model = _gpt(ctx)
    inputs = [name for name in arrays if name.endswith((*_INPUTS, "_codes"))]
    got: dict[str, Tensor] = {}
    for name in arrays:
        if match := re.fullmatch(r"(t\d+)_(n\d+)_codes", name):
            prompt = model.prompt(*_text(arrays, match[1]))
            codes = Codes(torch.from_numpy(arrays[name])[None])
            got[f"{match[1]}_{match[2]}_latent"] = latent_pass(model, prompt, codes)[0]
    return judge(arrays, got, inputs, ctx)


def check_bigvgan(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """Speaker vectors and sound (specification 6); the int16 arrays by truncation (section 7)."""
    model = BigVGAN(V1Config.model_validate(ctx.config).bigvgan)
    load_filled(NAMING["bigvgan"], model, "bigvgan", ctx)
    blocks = model.speaker_encoder.blocks
    taps = kaiser_sinc_filter()
    got: dict[str, Tensor] = {"filter_up": taps, "filter_down": taps}
    vectors: list[Tensor] = []
    for number in range(sum(name.startswith("spk_") for name in arrays)):
        with capture({f"ecapa_block{i}_{number}": blocks[i] for i in (0, 1)}) as seen:
            mel = _frames(arrays, f"mel_{number}").transpose(1, 2)
            vectors.append(model.speaker_encoder(mel))
        got |= {f"spk_{number}": vectors[-1][0, :, 0], **_first(seen)}
    mixed = (vectors[0] + vectors[1]) / 2
    speakers = {"single": vectors[0], "mix": mixed, "short": vectors[2], "one": vectors[0]}
    for case, speaker in speakers.items():
        got |= _vocode(model, arrays, case, speaker)
    activation = AntiAliasedSnakeBeta(len(arrays["act_alpha"]))
    activation.load_state_dict(
        {name: torch.from_numpy(arrays[f"act_{name}"]) for name in ("alpha", "beta")}
    )
    got["act_out"] = activation(torch.from_numpy(arrays["act_in"])[None])[0]
    inputs = [name for name in arrays if name.endswith(("_latent", "_in", "_alpha", "_beta"))]
    return judge(arrays, got, [*inputs, *(n for n in arrays if n.startswith("mel_"))], ctx)


def _vocode(model: BigVGAN, arrays: Arrays, case: str, speaker: Tensor) -> dict[str, Tensor]:
    """Sound of the latents of ``case``, and what the first stages made of them."""
    latents = torch.from_numpy(arrays[f"{case}_latent"]).T[None]
    conditions = model.conditions(speaker)
    wave = model(latents, conditions)[0, 0]
    entered = model.conv_pre(latents) + conditions[0]
    raised = model.ups[0](entered) + conditions[1]
    return {
        f"{case}_wav": wave,
        f"{case}_int16": (wave * 32767).clamp(-32767, 32767).to(torch.int16),
        f"{case}_after_pre": entered[0],
        f"{case}_after_up0": raised[0],
        f"{case}_after_stage0": model.blend(0, raised)[0],
    }


def _decode(model: V1Gpt, conds: Tensor, text_ids: Tensor, steps: int) -> dict[str, Tensor]:
    """``steps`` most likely codes, never the stop code."""
    prompt = model.prompt(conds, text_ids)
    positions = prompt.shape[1]
    cache = KeyValueCache(model.gpt, rows=1, positions=positions + steps)
    states = [model(prompt, cache.prefill(0))[:, -1]]
    ranked = [model.mel_head(states[0])]
    codes: list[Tensor] = []
    for step in range(1, steps + 1):
        open_ended = ranked[-1].clone()
        open_ended[:, model.sizes.stop_code] = -torch.inf
        codes.append(open_ended.topk(1).indices)
        if step < steps:
            embedded = model.embed_codes(codes[-1], torch.full_like(codes[-1], step))
            states.append(model(embedded, cache.decode([positions + step - 1]))[:, -1])
            ranked.append(model.mel_head(states[-1]))
    logits = torch.cat(ranked)
    others = logits.index_fill(1, torch.tensor([model.sizes.stop_code]), -torch.inf)
    best, second = others.topk(2).values.unbind(1)
    return {
        "prompt_emb": prompt[0],
        "prefill_hidden_last": states[0][0],
        "codes": torch.cat(codes)[:, 0],
        "logits": logits,
        "hidden": torch.cat(states),
        "margin": best - second,
    }


def _gpt(ctx: GoldenContext, layout: Layout = "trained") -> V1Gpt:
    config = V1Config.model_validate(ctx.config)
    model = V1Gpt(config.gpt, n_mels=config.bigvgan.num_mels, layout=layout)
    load_filled(NAMING["gpt"], model, "gpt", ctx)
    return model


def _frames(arrays: Arrays, name: str) -> Tensor:
    """A spectrogram ``[n_mels, T]`` as ``[1, T, n_mels]``."""
    return torch.from_numpy(arrays[name]).T[None]


def _text(arrays: Arrays, text: str) -> tuple[Tensor, Tensor]:
    """Conditioning ``[1, 32, C]`` and ids ``[1, L]`` of a golden text."""
    conds, ids = (torch.from_numpy(arrays[f"{text}_{kind}"])[None] for kind in ("cond", "text_ids"))
    return conds, ids


def _first(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value[0] for name, value in values.items()}


CHECKERS: Mapping[str, Callable[[Arrays, GoldenContext], list[Check]]] = {
    "bigvgan.npz": check_bigvgan,
    "conditioning.npz": check_conditioning,
    "gpt.npz": check_gpt,
    "latent.npz": check_latent,
    "mel.npz": check_mel,
}
"""Every file of a set of the family ``indextts1`` and who judges it."""
