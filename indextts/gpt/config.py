"""Sizes of the autoregressive model as plain numbers; each model family fills them in."""

from __future__ import annotations

from dataclasses import dataclass

from indextts.config import BaseGptConfig, ConditionModule

SPEED_ROWS = 2
"""Speed embeddings between the conditioning and the text, in models with an emotion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionSizes:
    """A conformer and the perceiver that reads it (specification 6.1, 6.2).

    ``in_features`` is the width of the features, ``out_width`` that of the perceiver.
    """

    in_features: int
    width: int
    hidden: int
    heads: int
    blocks: int
    out_width: int
    latents: int
    ff_mult: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GptSizes:
    """The GPT-2 stack, its vocabularies and its conditioning (specification 6.4).

    IndexTTS 1 has no ``emotion``.
    """

    width: int
    layers: int
    heads: int
    max_text_tokens: int
    max_codes: int
    text_tokens: int
    code_tokens: int
    start_text: int
    stop_text: int
    start_code: int
    stop_code: int
    speaker: ConditionSizes
    emotion: ConditionSizes | None = None

    @property
    def max_prompt(self) -> int:
        """Positions of the longest prompt: conditioning, speed, text with start and stop, start
        code.
        """
        speed = 0 if self.emotion is None else SPEED_ROWS
        return self.speaker.latents + speed + self.max_text_tokens + 2 + 1

    @property
    def max_positions(self) -> int:
        """Positions of the longest prompt with the longest generation after it."""
        return self.max_prompt + self.max_codes


def condition_sizes(
    module: ConditionModule, *, in_features: int, out_width: int, latents: int
) -> ConditionSizes:
    """Sizes that a section of a checkpoint's configuration implies."""
    return ConditionSizes(
        in_features=in_features,
        width=module.output_size,
        hidden=module.linear_units,
        heads=module.attention_heads,
        blocks=module.num_blocks,
        out_width=out_width,
        latents=latents,
        ff_mult=module.perceiver_mult,
    )


def gpt_sizes(
    config: BaseGptConfig, speaker: ConditionSizes, emotion: ConditionSizes | None = None
) -> GptSizes:
    """Sizes that the configuration of a checkpoint implies."""
    return GptSizes(
        width=config.model_dim,
        layers=config.layers,
        heads=config.heads,
        max_text_tokens=config.max_text_tokens,
        max_codes=config.max_mel_tokens,
        text_tokens=config.number_text_tokens,
        code_tokens=config.number_mel_codes,
        start_text=config.start_text_token,
        stop_text=config.stop_text_token,
        start_code=config.start_mel_token,
        stop_code=config.stop_mel_token,
        speaker=speaker,
        emotion=emotion,
    )
