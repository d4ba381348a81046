"""The autoregressive model: recordings and text in, codes and their states out (specification 6).

``CodeGpt`` is what an engine needs; ``SpeakerGpt`` adds what a speaker's recording gives,
``EmotiveGpt`` what IndexTTS-2 computes besides. Parameter names are the official ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from indextts.blocks.conformer import Conformer
from indextts.blocks.perceiver import PerceiverResampler
from indextts.gpt.backbone import Attend, Backbone, attend_causally
from indextts.gpt.config import SPEED_ROWS, ConditionSizes, GptSizes
from indextts.tensors import Features


class LearnedPositions(nn.Module):
    """One learned vector per position."""

    def __init__(self, *, positions: int, width: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(positions, width)

    def forward(self, positions: Tensor) -> Tensor:
        """int64 ``[...]`` -> ``[..., C]``."""
        rows: Tensor = self.emb(positions)
        return rows


class CodeGpt(nn.Module):
    """Token tables, GPT-2 stack and code head."""

    def __init__(self, sizes: GptSizes) -> None:
        super().__init__()
        self.sizes = sizes
        width = sizes.width
        self.text_embedding = nn.Embedding(sizes.text_tokens + 1, width)
        self.text_pos_embedding = LearnedPositions(positions=sizes.max_text_tokens + 2, width=width)
        self.mel_embedding = nn.Embedding(sizes.code_tokens, width)
        self.mel_pos_embedding = LearnedPositions(positions=sizes.max_codes + 3, width=width)
        self.gpt = Backbone(width=width, layers=sizes.layers, heads=sizes.heads)
        self.final_norm = nn.LayerNorm(width)
        self.mel_head = nn.Linear(width, sizes.code_tokens)

    def embed_text(self, token_ids: Tensor) -> Tensor:
        """Text tokens from position 0 on: int64 ``[B, L]`` -> ``[B, L, C]``."""
        places = torch.arange(token_ids.shape[1], device=token_ids.device)
        embedded: Tensor = self.text_embedding(token_ids) + self.text_pos_embedding(places)
        return embedded

    def embed_codes(self, codes: Tensor, places: Tensor) -> Tensor:
        """Codes at their places; code ``k`` of a generation has place ``k + 1``, the start code 0.

        int64 ``[B, S]`` and int64 ``[S]`` or ``[B, S]`` -> ``[B, S, C]``.
        """
        embedded: Tensor = self.mel_embedding(codes) + self.mel_pos_embedding(places)
        return embedded

    def forward(self, embeddings: Tensor, attend: Attend = attend_causally) -> Tensor:
        """States after both last norms: ``[B, T, C]`` -> ``[B, T, C]``.

        Sequences of a batch are padded on the right; causality keeps the padding out.
        """
        states: Tensor = self.final_norm(self.gpt(embeddings, attend))
        return states


class SpeakerGpt(CodeGpt):
    """``CodeGpt`` conditioned on a speaker's recording."""

    def __init__(self, sizes: GptSizes) -> None:
        super().__init__(sizes)
        self.conditioning_encoder = _conformer(sizes.speaker)
        self.perceiver_encoder = _perceiver(sizes.speaker)

    def conditioning(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Speaker latents: ``[B, T, F]`` of true ``lengths [B]`` -> ``[B, latents, C]``."""
        conds: Tensor = self.perceiver_encoder(*self.conditioning_encoder(features, lengths))
        return conds


class EmotiveGpt(SpeakerGpt):
    """``SpeakerGpt`` conditioned on an emotion's recording too; ``sizes`` must have an emotion."""

    def __init__(self, sizes: GptSizes) -> None:
        super().__init__(sizes)
        if sizes.emotion is None:
            raise ValueError("the sizes of an EmotiveGpt need an emotion")
        width = sizes.width
        self.emo_conditioning_encoder = _conformer(sizes.emotion)
        self.emo_perceiver_encoder = _perceiver(sizes.emotion)
        self.emovec_layer = nn.Linear(sizes.emotion.out_width, width)
        self.emo_layer = nn.Linear(width, width)
        self.speed_emb = nn.Embedding(SPEED_ROWS, width)

    def emotion_vector(self, features: Features, lengths: Tensor | None = None) -> Tensor:
        """Emotion of a recording: ``[B, T, F]`` of true ``lengths [B]`` -> ``[B, C]``."""
        heard: Tensor = self.emo_perceiver_encoder(
            *self.emo_conditioning_encoder(features, lengths)
        )
        vector: Tensor = self.emo_layer(self.emovec_layer(heard[:, 0]))
        return vector


def merge_emotion(speaker: Tensor, emotion: Tensor, weight: float) -> Tensor:
    """From the speaker's own emotion vector to another one (specification 6.3).

    ``[B, C]`` twice -> ``[B, C]``; ``weight`` 0 keeps the speaker's, 1 takes the other.
    """
    return speaker + weight * (emotion - speaker)


def _conformer(sizes: ConditionSizes) -> Conformer:
    return Conformer(
        in_features=sizes.in_features,
        width=sizes.width,
        heads=sizes.heads,
        hidden=sizes.hidden,
        blocks=sizes.blocks,
    )


def _perceiver(sizes: ConditionSizes) -> PerceiverResampler:
    return PerceiverResampler(
        context_width=sizes.width,
        width=sizes.out_width,
        latents=sizes.latents,
        heads=sizes.heads,
        ff_mult=sizes.ff_mult,
    )
