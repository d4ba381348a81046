"""The autoregressive model at the sizes of an IndexTTS-2 checkpoint."""

from __future__ import annotations

from indextts.config import ConditionModule
from indextts.gpt.config import ConditionSizes, GptSizes
from indextts.gpt.model import EmotiveGpt
from indextts.v2.config import ConditioningInput, GptConfig

SPEAKER_LATENTS = 32
EMOTION_LATENTS = 1


def gpt_sizes(config: GptConfig, features: ConditioningInput) -> GptSizes:
    """Sizes that the configuration of a checkpoint implies (specification 6.4)."""
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
        speaker=_condition(
            config.condition_module, features.width, config.model_dim, SPEAKER_LATENTS
        ),
        emotion=_condition(
            config.emo_condition_module, features.width, features.emotion_width, EMOTION_LATENTS
        ),
    )


def build_gpt(config: GptConfig, features: ConditioningInput) -> EmotiveGpt:
    """The model with fresh weights; ``weights.convert("gpt", ...)`` makes a state dict for it."""
    return EmotiveGpt(gpt_sizes(config, features))


def _condition(
    module: ConditionModule, in_features: int, out_width: int, latents: int
) -> ConditionSizes:
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
