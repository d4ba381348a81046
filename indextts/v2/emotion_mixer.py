"""From what a request says of emotion to the vector the GPT is conditioned on (specification 9)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from indextts.gpt.model import merge_emotion
from indextts.v2.emotion import EmotionMatrices, EmotionVector, QwenEmotion, shape_vector
from indextts.v2.voice import Voice
from streaming.errors import BadConfig
from streaming.request import SynthesisRequest
from streaming.speech import Take


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmotionMixer:
    """Mixes the emotion of one chunk; ``classifier`` is absent where none is configured.

    ``normalize`` applies upstream's bias and cap to the vectors of callers.
    """

    matrices: EmotionMatrices
    classifier: QwenEmotion | None = None
    normalize: bool = False

    def check(self, request: SynthesisRequest) -> None:
        """Raise ``BadConfig`` for what this server cannot do."""
        if request.emotion.text is not None and self.classifier is None:
            raise BadConfig(
                "this server has no emotion classifier; give a vector or a reference",
                param="emotion.text",
            )

    def mix(self, take: Take[Voice]) -> Tensor:
        """The emotion vector ``[1, D]``; blocking. Raises ``BadConfig``."""
        self.check(take.request)
        wanted, heard = take.request.emotion, take.voice.emotion
        if take.emotion_voice is not None:
            return merge_emotion(heard, take.emotion_voice.emotion, wanted.weight)
        if wanted.text is not None and self.classifier is not None:
            found = self.classifier.classify(wanted.text)
            return self._blend(shape_vector(found, weight=wanted.weight), take)
        if wanted.vector is None:
            return heard
        weights = shape_vector(wanted.vector, weight=wanted.weight, normalize=self.normalize)
        return self._blend(weights, take)

    def _blend(self, weights: EmotionVector, take: Take[Voice]) -> Tensor:
        style = take.voice.style
        if take.request.emotion.random:
            generator = torch.Generator().manual_seed(take.request.seed % 2**63)
            rows = self.matrices.random(1, generator).to(style.device)
        else:
            rows = self.matrices.nearest(style)
        mixed = torch.tensor([weights], device=style.device)
        return self.matrices.blend(rows, mixed, take.voice.emotion)
