"""Sections of config.yaml that both model families have."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of config.yaml; keys that inference does not need are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class ConditionModule(Section):
    """A conformer encoder with its perceiver."""

    output_size: int
    linear_units: int
    attention_heads: int
    num_blocks: int
    perceiver_mult: int = 2


class BaseGptConfig(Section):
    """The autoregressive model."""

    model_dim: int
    layers: int
    heads: int
    max_text_tokens: int
    max_mel_tokens: int
    number_text_tokens: int
    number_mel_codes: int
    start_text_token: int = 0
    stop_text_token: int = 1
    start_mel_token: int
    stop_mel_token: int
    condition_module: ConditionModule


class GeneratorConfig(Section):
    """The generator of BigVGAN."""

    upsample_rates: tuple[int, ...] = (4, 4, 2, 2, 2, 2)
    upsample_kernel_sizes: tuple[int, ...] = (8, 8, 4, 4, 4, 4)
    upsample_initial_channel: int = 1536
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))


class WritingConfig(Section):
    """How codes are drawn and texts are cut by default; a request may override most of it.

    A generation may take ``max_codes_per_text_token``; one that stops before ``min_codes_...`` has
    left words out. Both are tried again, ``retries`` times. ``fold_unknown_letters`` reads letters
    that a small vocabulary lacks without their accents.
    """

    temperature: float = 0.8
    top_k: int = 30
    top_p: float = 0.8
    repetition_penalty: float = 10.0
    max_codes_per_text_token: float = 30.0
    min_codes_per_text_token: float = 0.0
    retries: int = 1
    fold_unknown_letters: bool = False
    first_chunk_tokens: int = 40
    max_chunk_tokens: int = 120
    tokens_per_second: float = 6.0
    languages: tuple[str, ...] = ("en", "zh")


class DatasetConfig(Section):
    """Names of the text side's files."""

    bpe_model: str = "bpe.model"
