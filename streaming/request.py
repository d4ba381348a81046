"""What a caller asks for: one frozen value per request, never attributes of a shared object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

EMOTIONS = (
    "happy",
    "angry",
    "sad",
    "afraid",
    "disgusted",
    "melancholic",
    "surprised",
    "calm",
)
"""Order of the eight values of an emotion vector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How codes are drawn. ``None`` means the checkpoint's own default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Emotion:
    """How it should sound. At most one of ``vector``, ``text``, ``reference`` is set; none means
    as the speaker.

    ``reference`` is the sha256 of a recording the caller has resolved and encoded beforehand.
    ``weight`` scales the reference or vector; ``random`` picks random emotion rows instead of the
    most similar.
    """

    vector: tuple[float, ...] | None = None
    text: str | None = None
    reference: str | None = None
    weight: float = 1.0
    random: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunking:
    """How text is cut. Token caps come from the checkpoint when ``None``."""

    first_max_tokens: int | None = None
    max_tokens: int | None = None
    gap_ms: int = 120
    flush_after_ms: int = 700


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisRequest:
    """Everything that shapes the sound of one context, apart from its text.

    ``seed`` is resolved (never ``None``) so that the same request always sounds the same.
    ``sample_rate_hz`` is the rate wanted on the wire; ``None`` means the model's own. ``glossary``
    says how terms are read.
    """

    request_id: str
    voice: str
    seed: int
    language: str | None = None
    glossary: Mapping[str, str] = field(default_factory=dict)
    speed: float = 1.0
    sample_rate_hz: int | None = None
    emotion: Emotion = field(default_factory=Emotion)
    sampling: Sampling = field(default_factory=Sampling)
    chunking: Chunking = field(default_factory=Chunking)
