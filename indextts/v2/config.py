"""Configuration of an IndexTTS-2 checkpoint: the sections of its config.yaml.

The optional sections ``w2v_bert``, ``campplus``, ``conditioning_input`` and ``gpt_layer`` set
widths that the official files fix; absent means official. ``inference`` holds the checkpoint's
own defaults.
"""

from __future__ import annotations

from pydantic import Field

from indextts.config import (
    BaseGptConfig,
    ConditionModule,
    DatasetConfig,
    GeneratorConfig,
    Section,
    WritingConfig,
)


class GptConfig(BaseGptConfig):
    """The autoregressive model (specification 6)."""

    emo_condition_module: ConditionModule


class SemanticCodecConfig(Section):
    """The factorised vector quantiser of w2v-BERT features (specification 5.1)."""

    codebook_size: int = 8192
    hidden_size: int = 1024
    codebook_dim: int = 8
    vocos_dim: int = 384
    vocos_intermediate_dim: int = 2048
    vocos_num_layers: int = 12


class StyleEncoder(Section):
    """Width of the speaker vector."""

    dim: int = 192


class LengthRegulatorConfig(Section):
    """From codes to mel frames (specification 5.3)."""

    channels: int
    in_channels: int
    sampling_ratios: tuple[int, ...] = (1, 1, 1, 1)


class DitConfig(Section):
    """The flow-matching estimator (specification 7.3)."""

    hidden_dim: int
    num_heads: int
    depth: int
    in_channels: int
    content_dim: int
    long_skip_connection: bool = True
    uvit_skip_connection: bool = True


class WavenetConfig(Section):
    """The convolutional head of the estimator."""

    hidden_dim: int
    num_layers: int
    kernel_size: int
    dilation_rate: int = 1


class SpectParams(Section):
    """Short-time Fourier transform of the mel spectrogram (specification 4.3)."""

    n_fft: int = 1024
    win_length: int = 1024
    hop_length: int = 256
    n_mels: int = 80
    fmin: float = 0.0
    fmax: float | str | None = None


class PreprocessParams(Section):
    """Rate and spectrogram of the acoustic model."""

    sr: int = 22050
    spect_params: SpectParams = Field(default_factory=SpectParams)


class S2melConfig(Section):
    """Codes to mel."""

    preprocess_params: PreprocessParams = Field(default_factory=PreprocessParams)
    style_encoder: StyleEncoder
    length_regulator: LengthRegulatorConfig
    dit: DitConfig = Field(alias="DiT")
    wavenet: WavenetConfig


class BigvganConfig(GeneratorConfig):
    """BigVGAN v2 (specification 8); the file bigvgan/config.json."""

    num_mels: int = 80
    use_tanh_at_final: bool = False
    use_bias_at_final: bool = False


class W2vBertConfig(Section):
    """The w2v-BERT encoder; ``used_layer`` indexes its hidden states (specification 4.6)."""

    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    intermediate_size: int = 4096
    feature_projection_input_dim: int = 160
    left_max_position_embeddings: int = 64
    right_max_position_embeddings: int = 8
    conv_depthwise_kernel_size: int = 31
    used_layer: int = 17


class CampplusConfig(Section):
    """CAMPPlus (specification 5.2): head channels, dense growth, layers per block, embedding."""

    head_channels: int = 32
    init_channels: int = 128
    bottleneck_channels: int = 128
    growth_rate: int = 32
    layers: tuple[int, ...] = (12, 24, 16)
    dilations: tuple[int, ...] = (1, 2, 2)
    embedding_size: int = 192


class ConditioningInput(Section):
    """Width of the features that enter the conformers, and of the emotion perceiver."""

    width: int = 1024
    emotion_width: int = 1024


class GptLayerConfig(Section):
    """Widths between the GPT latents and the codec's features (three Linear layers)."""

    hidden: tuple[int, int] = (256, 128)


class VocoderConfig(Section):
    """Which vocoder the mel spectrograms are for."""

    type: str = "bigvgan"
    name: str = "nvidia/bigvgan_v2_22khz_80band_256x"


class InferenceConfig(WritingConfig):
    """Defaults of the checkpoint; a request may override the sampling values.

    ``normalize_emotion`` treats emotion vectors as upstream's web page does (specification 9): a
    bias per emotion, then a sum of at most 0.8. ``prompt_s`` is how much of a recording the
    acoustic model continues at most; each of its steps takes time for these seconds too.
    ``cfm_temperature`` scales the noise that the mel spectrogram is made from: below 1 a weak model
    is easier to understand.
    """

    cfm_steps: int = 25
    cfm_temperature: float = 1.0
    prompt_s: float = 15.0
    cfg_rate: float = 0.7
    cfg_cache_interval: int = 1
    normalize_emotion: bool = False


class CheckpointConfig(Section):
    """The whole config.yaml of a checkpoint."""

    dataset: DatasetConfig = Field(default_factory=DatasetConfig)
    gpt: GptConfig
    semantic_codec: SemanticCodecConfig = Field(default_factory=SemanticCodecConfig)
    s2mel: S2melConfig
    vocoder: VocoderConfig = Field(default_factory=VocoderConfig)
    w2v_bert: W2vBertConfig = Field(default_factory=W2vBertConfig)
    campplus: CampplusConfig = Field(default_factory=CampplusConfig)
    conditioning_input: ConditioningInput = Field(default_factory=ConditioningInput)
    gpt_layer: GptLayerConfig = Field(default_factory=GptLayerConfig)
    inference: InferenceConfig = Field(default_factory=InferenceConfig)
    emo_num: tuple[int, ...] = (3, 17, 2, 8, 4, 5, 10, 24)
    gpt_checkpoint: str = "gpt.pth"
    s2mel_checkpoint: str = "s2mel.pth"
    w2v_stat: str = "wav2vec2bert_stats.pt"
    emo_matrix: str = "feat2.pt"
    spk_matrix: str = "feat1.pt"
    qwen_emo_path: str = "qwen0.6bemo4-merge/"
    version: float | str = 2.0
