"""What a session asks its server to do, in order."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TypeAlias

from streaming.fields import SpeechConfig
from streaming.wire import AudioDelta, ServerMessage, SessionConfig, tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send a JSON message; ``context`` is the number of the context it is about, if any."""

    message: ServerMessage
    context: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio:
    """Send audio: ``data``, PCM or encoded, stands for ``samples`` from ``first_sample`` on."""

    context: int
    context_id: str
    sequence: int
    first_sample: int
    samples: int
    sample_rate_hz: int
    data: bytes
    config: SpeechConfig

    @property
    def duration_s(self) -> float:
        """How long it plays."""
        return self.samples / self.sample_rate_hz

    @property
    def payload(self) -> bytes | AudioDelta:
        """What goes out, as binary or inside JSON."""
        if self.config.encoding == "base64":
            return AudioDelta(
                context_id=self.context_id,
                utterance_index=self.context,
                sequence=self.sequence,
                first_sample=self.first_sample,
                audio=base64.b64encode(self.data).decode("ascii"),
            )
        if self.config.framing == "tagged":
            return tag(self.context, self.sequence, self.first_sample, self.data)
        return self.data


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
class Resume:
    """Look for the connection that ``message`` names and let it go on here."""

    message: SessionConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Close the socket; ``code`` is the error code it goes with, ``None`` for a normal end."""

    code: str | None = None
    reason: str = ""


Effect: TypeAlias = Send | Audio | Begin | Feed | Flush | Finish | Stop | Resume | Close
