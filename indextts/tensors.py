"""The stages as types, so that a type checker refuses a mel where latents are due."""

from __future__ import annotations

from typing import NewType

from torch import Tensor

Features = NewType("Features", Tensor)
"""Normalised w2v-BERT features of a recording, ``[1, T, width]``, 50 per second."""

Codes = NewType("Codes", Tensor)
"""Semantic codes, int64 ``[1, S]``, 50 per second."""

Latents = NewType("Latents", Tensor)
"""GPT states that chose the codes, float32 ``[1, S, model_dim]``."""

Mel = NewType("Mel", Tensor)
"""Log-mel spectrogram, float32 ``[1, n_mels, T]``."""

Waveform = NewType("Waveform", Tensor)
"""Samples in [-1, 1], float32 ``[1, 1, n]``."""

Prompt = NewType("Prompt", Tensor)
"""Embeddings that an engine turns into codes, ``[1, P, model_dim]``."""

Style = NewType("Style", Tensor)
"""CAMPPlus speaker vector, float32 ``[1, 192]`` (not normalised)."""
