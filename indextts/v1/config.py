"""Configuration of an IndexTTS 1.0 or 1.5 checkpoint: the sections of its config.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from indextts.config import BaseGptConfig, DatasetConfig, GeneratorConfig, Section, WritingConfig

Layout = Literal["trained", "upstream_cache", "index_tts_vllm"]
"""How text and codes are laid out for the GPT (specification 4).

``trained`` is what the checkpoints were trained with; the others repeat what two servers made of
it: upstream on GPUs skips the second position of the codes, index-tts-vllm loses the text's stop
token.
"""


class MelConfig(Section):
    """Spectrum of the reference recordings (specification 2)."""

    sample_rate: int = 24000
    n_fft: int = 1024
    hop_length: int = 256
    win_length: int = 1024
    n_mels: int = 100
    mel_fmin: float = 0.0


class V1DatasetConfig(DatasetConfig):
    """Names of the text side's files, and the spectrum."""

    mel: MelConfig = Field(default_factory=MelConfig)


class VocoderConfig(GeneratorConfig):
    """BigVGAN 1, fed by latents and conditioned on a speaker vector (specification 6)."""

    gpt_dim: int
    num_mels: int = 100
    speaker_embedding_dim: int = 512
    sampling_rate: int = 24000
    upsample_rates: tuple[int, ...] = (4, 4, 4, 4, 2, 2)


class V1InferenceConfig(WritingConfig):
    """Defaults of the checkpoint; a request may override the sampling values.

    ``slice_codes`` are vocoded at a time; with ``stream_codes``, while later ones are still being
    written. ``interjections`` reads 嗯, 嘿, 嗨 and 哈哈 as the pseudo-streaming fork does.
    """

    temperature: float = 1.0
    max_codes_per_text_token: float = 15.0
    layout: Layout = "trained"
    slice_codes: tuple[int, ...] = (16, 32, 64)
    stream_codes: bool = True
    interjections: bool = False


class V1Config(Section):
    """The whole config.yaml of a checkpoint."""

    dataset: V1DatasetConfig = Field(default_factory=V1DatasetConfig)
    gpt: BaseGptConfig
    bigvgan: VocoderConfig
    inference: V1InferenceConfig = Field(default_factory=V1InferenceConfig)
    gpt_checkpoint: str = "gpt.pth"
    bigvgan_checkpoint: str = "bigvgan_generator.pth"
    version: float | str = 1.0
