"""The autoregressive model at the sizes of an IndexTTS-2 checkpoint."""

from __future__ import annotations

from indextts.gpt.config import condition_sizes, gpt_sizes
from indextts.gpt.model import EmotiveGpt
from indextts.v2.config import ConditioningInput, GptConfig

SPEAKER_LATENTS = 32
EMOTION_LATENTS = 1


def build_gpt(config: GptConfig, features: ConditioningInput) -> EmotiveGpt:
    """The model with fresh weights (specification 6.4).

    ``weights.convert("gpt", ...)`` makes a state dict for it.
    """
    speaker = condition_sizes(
        config.condition_module,
        in_features=features.width,
        out_width=config.model_dim,
        latents=SPEAKER_LATENTS,
    )
    emotion = condition_sizes(
        config.emo_condition_module,
        in_features=features.width,
        out_width=features.emotion_width,
        latents=EMOTION_LATENTS,
    )
    return EmotiveGpt(gpt_sizes(config, speaker, emotion))
