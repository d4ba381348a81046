"""What a session asks its server to do, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from streaming.fields import SpeechConfig
from streaming.wire import AudioDelta, ServerMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send a JSON message."""

    message: ServerMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio:
    """Send audio, as binary or inside JSON; ``max_lead_s`` paces it, ``duration_s`` is its own."""

    context: int
    context_id: str
    payload: bytes | AudioDelta
    duration_s: float
    max_lead_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """Start the pipeline for a context; ``Feed``, ``Flush`` and ``Finish`` follow."""

    context: int
    request_id: str
    config: SpeechConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Text for the pipeline of a context."""

    context: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush:
    """Speak what is buffered."""

    context: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """No more text for this pipeline."""

    context: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Cancel the pipeline at once and drop what it made."""

    context: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Close the socket; ``code`` is the error code it goes with, ``None`` for a normal end."""

    code: str | None = None
    reason: str = ""


Effect: TypeAlias = Send | Audio | Begin | Feed | Flush | Finish | Stop | Close
