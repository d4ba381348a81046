"""Everything that can go wrong on purpose.

Each class carries a stable ``code`` and a message that is safe to show to a client::

    SpeechError
    ├── InputError            the caller sent something we refuse
    │   ├── EmptyInput            empty_input
    │   ├── InvalidText           invalid_text
    │   ├── TextTooLong           text_too_long
    │   ├── UnknownVoice          unknown_voice
    │   ├── BadRecording          bad_recording
    │   ├── ReferenceRefused      reference_refused
    │   ├── UnsupportedFormat     unsupported_format
    │   ├── BadMessage            bad_message
    │   └── BadConfig             bad_config           (``param`` names the field)
    ├── AccessError           the caller may not
    │   ├── Unauthorized          unauthorized
    │   ├── Forbidden             forbidden
    │   ├── ForbiddenOrigin       forbidden_origin
    │   ├── RateLimited           rate_limited         (``retry_after_s``)
    │   └── Overloaded            overloaded           (``retry_after_s``)
    ├── ConnectionEnded       the connection has to go
    │   ├── Draining              draining             (``retry_after_s``)
    │   ├── Idle                  idle
    │   ├── Stalled               stalled
    │   └── ResumeExpired         resume_expired
    └── ServiceError          our side failed
        ├── SynthesisFailed       synthesis_failed
        ├── EngineFailed          engine_failed        (``retry_after_s``)
        └── Internal              internal             (``request_id`` and nothing else)

``server.errors`` is the only table from code to HTTP status and WebSocket close code.
Cancellation is not an error.
"""

from __future__ import annotations

from typing import ClassVar


class SpeechError(Exception):
    """A refusal or failure with a stable ``code`` and a message that is safe to show."""

    code: ClassVar[str] = "internal"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.request_id = request_id


class InputError(SpeechError):
    """The caller sent something we refuse."""

    code = "bad_message"


class EmptyInput(InputError):
    """Nothing to speak."""

    code = "empty_input"


class InvalidText(InputError):
    """Text with lone surrogates or control garbage."""

    code = "invalid_text"


class TextTooLong(InputError):
    """Text over the published limits."""

    code = "text_too_long"


class UnknownVoice(InputError):
    """No speaker of that name, or one whose recordings are bad."""

    code = "unknown_voice"


class BadRecording(InputError):
    """A recording that is not audio, or too short, too long, too big."""

    code = "bad_recording"


class ReferenceRefused(InputError):
    """A path or URL that is not allowed."""

    code = "reference_refused"


class UnsupportedFormat(InputError):
    """An audio format or sample rate that is not offered."""

    code = "unsupported_format"


class BadMessage(InputError):
    """Not JSON, an unknown message type, or binary where text is due."""

    code = "bad_message"


class BadConfig(InputError):
    """A field out of range; ``param`` names it."""

    code = "bad_config"


class AccessError(SpeechError):
    """The caller may not."""

    code = "unauthorized"


class Unauthorized(AccessError):
    """Missing or wrong credentials."""

    code = "unauthorized"


class Forbidden(AccessError):
    """What belongs to another key."""

    code = "forbidden"


class ForbiddenOrigin(AccessError):
    """A browser origin that is not on the list."""

    code = "forbidden_origin"


class RateLimited(AccessError):
    """This caller asks too often."""

    code = "rate_limited"


class Overloaded(AccessError):
    """No place left for another request."""

    code = "overloaded"


class ConnectionEnded(SpeechError):
    """The connection has to go."""

    code = "idle"


class Draining(ConnectionEnded):
    """The server is shutting down."""

    code = "draining"


class Idle(ConnectionEnded):
    """Nothing was said for the published time."""

    code = "idle"


class Stalled(ConnectionEnded):
    """The reader took nothing for the published time."""

    code = "stalled"


class ResumeExpired(ConnectionEnded):
    """The connection to go on with is gone."""

    code = "resume_expired"


class ServiceError(SpeechError):
    """Our side failed."""

    code = "internal"


class SynthesisFailed(ServiceError):
    """Runaway after the retry, or bad model output."""

    code = "synthesis_failed"


class EngineFailed(ServiceError):
    """The engine died; it may come back."""

    code = "engine_failed"


class Internal(ServiceError):
    """Something unexpected; carries the request id and nothing else."""

    code = "internal"
