"""What the pipeline yields for one context, in this order.

``(Warned | ChunkStarted AudioFrame* ChunkDone)* SpeechDone``; a failure is raised instead. Samples
are counted at the output rate; offsets never repeat or skip; the gap belongs to the chunk before
it, the overlap to the later one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from streaming.speech import ChunkReport


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkStarted:
    """Chunk ``index`` begins at ``first_sample``.

    ``text`` is ``[text_start, text_end)`` of the context's text, in characters.
    """

    index: int
    text: str
    text_start: int
    text_end: int
    normalized_text: str
    first_sample: int
    sample_rate_hz: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioFrame:
    """Mono s16le PCM of the chunk that was started last."""

    pcm: bytes
    first_sample: int

    @property
    def samples(self) -> int:
        """How many samples the frame holds."""
        return len(self.pcm) // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkDone:
    """Chunk ``index`` is complete: ``samples`` is what its frames held, its gap included."""

    index: int
    samples: int
    duration_ms: float
    report: ChunkReport


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechDone:
    """The context is complete.

    ``first_audio_ms`` (``None`` without audio) and ``queue_ms`` count from the moment the first
    text chunk was there. ``rtf`` is time spent computing by duration of the audio (0 without).
    """

    chunks: int
    samples: int
    characters_in: int
    characters_spoken: int
    first_audio_ms: float | None
    queue_ms: float
    rtf: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something the listener should know and that stops nothing."""

    code: str
    message: str


Event: TypeAlias = ChunkStarted | AudioFrame | ChunkDone | SpeechDone | Warned
"""Anything the pipeline yields."""
