"""Golden checks of everything that listens: features, encoders, codec, emotion matrices."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from indextts.audio.fbank import SAMPLE_RATE_HZ, campplus_features, kaldi_fbank, seamless_features
from indextts.audio.resample import sinc_resample
from indextts.checkpoint import read_tensors, single
from indextts.checks import Check
from indextts.goldens.arrays import Arrays, GoldenContext, capture, judge, tensors, views
from indextts.goldens.v2 import load_filled
from indextts.v2.campplus import Campplus
from indextts.v2.config import (
    CampplusConfig,
    LengthRegulatorConfig,
    PreprocessParams,
    SemanticCodecConfig,
    W2vBertConfig,
)
from indextts.v2.emotion import EmotionMatrices
from indextts.v2.networks import build_mel
from indextts.v2.regulator import LengthRegulator
from indextts.v2.semantic import SemanticCodec
from indextts.v2.w2v_bert import W2vBert, normalize

_CAMPPLUS_NAME = re.compile(
    r"^(head|tdnn|stats|y|(?:transit|block)\d+_)(\d+)(?:_(first|last)(\d+)frames)?$"
)


def check_audio_features(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """Resampling, mel spectrogram and both filter banks (specification 4)."""
    params = PreprocessParams(**ctx.config.get("s2mel", {}).get("preprocess_params", {}))
    wav, wav_16k = tensors(arrays, "wav22k", "wav16k_torchaudio")
    mel = build_mel(params.sr, params.spect_params)
    inputs, mask = seamless_features(wav_16k)
    shorter, shorter_mask = seamless_features(wav_16k[:, :-160])
    resampled = sinc_resample(wav, params.sr, SAMPLE_RATE_HZ)
    got = {
        "wav16k_torchaudio": resampled,
        "mel80_22k": mel(wav),
        "mel_basis": mel.basis,
        "kaldi_fbank": kaldi_fbank(wav_16k)[0],
        "kaldi_fbank_cmn": campplus_features(wav_16k)[0],
        "seamless_input_features": inputs,
        "seamless_attention_mask": mask,
        "seamless_odd_attention_mask": shorter_mask,
    }
    if "seamless_odd_input_features" in arrays:
        rows = arrays["seamless_odd_input_features"].shape[1]
        got["seamless_odd_input_features"] = shorter[:, -rows:]
    return judge(arrays, got, ("wav22k",), ctx)


@torch.no_grad()
def check_campplus(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """The speaker encoder for each input ``x<frames>`` and what is inside it."""
    model = Campplus(**CampplusConfig(**ctx.config.get("campplus", {})).model_dump())
    load_filled("campplus", model, "campplus", ctx)
    stack = {f"{name}_": module for name, module in model.xvector.named_children()}
    watched: dict[str, nn.Module] = {"head": model.head, **stack}
    watched["tdnn"], watched["stats"] = watched["tdnn_"], watched["stats_"]
    inputs = [name for name in arrays if re.fullmatch(r"x\d+", name)]
    outputs: dict[str, dict[str, Tensor]] = {}
    for name in inputs:
        with capture(watched) as seen:
            seen["y"] = model(*tensors(arrays, name))
        outputs[name[1:]] = seen
    got = {}
    for name in arrays:
        match = _CAMPPLUS_NAME.match(name)
        if match is not None and match[1] in outputs.get(match[2], {}):
            got[name] = _frames(outputs[match[2]][match[1]], match[3], match[4])
    return judge(arrays, got, inputs, ctx)


def _frames(output: Tensor, end: str | None, count: str | None) -> Tensor:
    """The first or last frames that an array's name asks for, else all."""
    if end is None or count is None:
        return output
    return output[..., : int(count)] if end == "first" else output[..., -int(count) :]


@torch.no_grad()
def check_semantic_codec(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """The codec both ways, alone and in a batch."""
    codec = _codec(ctx, SemanticCodecConfig(**ctx.config.get("semantic_codec", {})))
    x, batch, codes = tensors(arrays, "x", "batch_x", "codes")
    watched = {
        "mid_backbone": codec.encoder[0],
        "mid_encoder_out": codec.encoder,
        "mid_z_e": codec.codebook.in_project,
    }
    with capture(watched) as got:
        got["ids"], got["quantized"] = codec.quantize(x)
    best = codec.logits(x).topk(2, dim=-1).values[0]
    got["cos_margin"] = best[:, 0] - best[:, 1]
    got["batch_ids"], got["batch_quantized"] = codec.quantize(batch)
    got["vq2emb"] = codec.vq2emb(codes)
    return judge(arrays, got, ("x", "batch_x", "codes"), ctx)


@torch.no_grad()
def check_official_codec_lr(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """Codec and length regulator at official size, the latter's widths as the arrays have them."""
    codec = _codec(ctx, SemanticCodecConfig())
    x, codes, lr_x, lr_frames = tensors(arrays, "x", "codes", "lr_x", "lr_ylens")
    ids, quantized = codec.quantize(x)
    regulator = LengthRegulator(
        LengthRegulatorConfig(in_channels=lr_x.shape[2], channels=arrays["lr_y"].shape[2])
    )
    load_filled("length_regulator", regulator, "s2mel/length_regulator", ctx)
    seen = {"quantized": quantized, "vq2emb": codec.vq2emb(codes)}
    got = views(arrays, seen) | {"ids": ids, "lr_y": regulator(lr_x, lr_frames)}
    return judge(arrays, got, ("x", "codes", "lr_x", "lr_ylens"), ctx)


def _codec(ctx: GoldenContext, config: SemanticCodecConfig) -> SemanticCodec:
    codec = SemanticCodec(**config.model_dump())
    load_filled("semantic_codec", codec, "semantic_codec", ctx)
    return codec


@torch.no_grad()
def check_w2v_bert(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """Every hidden state of the encoder, and the normalisation with the official statistics."""
    config = W2vBertConfig(**ctx.config.get("w2v_bert", {}))
    model = W2vBert(**{**config.model_dump(), "used_layer": config.num_hidden_layers})
    load_filled("w2v_bert", model, "w2v_bert", ctx)
    x, mask = tensors(arrays, "x", "attention_mask")
    layers = {f"hidden_{i + 1}": layer for i, layer in enumerate(model.encoder.layers)}
    with capture({"hidden_0": model.encoder.dropout, **layers}) as got:
        got["last_hidden_state"] = model.hidden(x, mask)
    if (stats := _official(ctx, "wav2vec2bert_stats.pt")) and "norm_in" in arrays:
        values = read_tensors(stats)
        [hidden] = tensors(arrays, "norm_in")
        got["norm_out"] = normalize(hidden, values["mean"], values["var"])
    return judge(arrays, got, ("x", "attention_mask", "norm_in"), ctx)


def check_emotion_matrix(arrays: Arrays, ctx: GoldenContext) -> list[Check]:
    """Rows chosen from the official matrices and what is mixed of them."""
    got: dict[str, Tensor] = {}
    style, weights, audio, counts = tensors(arrays, "style", "weights", "base_emovec", "emo_num")
    feat1, feat2 = _official(ctx, "feat1.pt"), _official(ctx, "feat2.pt")
    if feat1 and feat2:
        matrices = EmotionMatrices(
            speakers=single(feat1), emotions=single(feat2), counts=tuple(counts.tolist())
        )
        rows = got["nearest_index"] = matrices.nearest(style)
        got["emovec_mat"] = matrices.mix(rows, weights)
        got["emovec_final"] = matrices.blend(rows, weights, audio)
    return judge(arrays, got, ("style", "weights", "base_emovec", "emo_num"), ctx)


def _official(ctx: GoldenContext, name: str) -> Path | None:
    """A small official file, if the caller has it."""
    path = ctx.official / name if ctx.official is not None else None
    return path if path is not None and path.is_file() else None
