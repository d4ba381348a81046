"""All networks of an IndexTTS-2 checkpoint, built from its configuration."""

from __future__ import annotations

from dataclasses import dataclass

from indextts.audio.mel import MelSpectrogram
from indextts.gpt.model import EmotiveGpt
from indextts.v2.campplus import Campplus
from indextts.v2.config import BigvganConfig, CheckpointConfig, SpectParams
from indextts.v2.dit import DiT
from indextts.v2.gpt import build_gpt
from indextts.v2.regulator import GptLayer, LengthRegulator
from indextts.v2.semantic import SemanticCodec
from indextts.v2.vocoder import BigVGAN
from indextts.v2.w2v_bert import W2vBert


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Networks:
    """One module per part of the checkpoint, under the part's name in ``weights.PARTS``."""

    gpt: EmotiveGpt
    cfm: DiT
    length_regulator: LengthRegulator
    gpt_layer: GptLayer
    semantic_codec: SemanticCodec
    campplus: Campplus
    bigvgan: BigVGAN
    w2v_bert: W2vBert
    mel: MelSpectrogram


def build_networks(config: CheckpointConfig, bigvgan: BigvganConfig) -> Networks:
    """Every network at the sizes of ``config``, with fresh weights."""
    s2mel = config.s2mel
    return Networks(
        gpt=build_gpt(config.gpt, config.conditioning_input),
        cfm=DiT(s2mel),
        length_regulator=LengthRegulator(s2mel.length_regulator),
        gpt_layer=GptLayer(
            model_dim=config.gpt.model_dim,
            hidden=config.gpt_layer.hidden,
            features=config.semantic_codec.hidden_size,
        ),
        semantic_codec=SemanticCodec(**config.semantic_codec.model_dump()),
        campplus=Campplus(**config.campplus.model_dump()),
        bigvgan=BigVGAN(bigvgan),
        w2v_bert=W2vBert(**config.w2v_bert.model_dump()),
        mel=build_mel(s2mel.preprocess_params.sr, s2mel.preprocess_params.spect_params),
    )


def build_mel(sample_rate_hz: int, params: SpectParams) -> MelSpectrogram:
    """The spectrogram the acoustic model was trained on; a textual ``fmax`` means half the rate."""
    fmax = params.fmax if isinstance(params.fmax, float | int) else None
    return MelSpectrogram(
        sample_rate_hz=sample_rate_hz,
        n_fft=params.n_fft,
        win_length=params.win_length,
        hop_length=params.hop_length,
        n_mels=params.n_mels,
        fmin_hz=params.fmin,
        fmax_hz=fmax,
    )
