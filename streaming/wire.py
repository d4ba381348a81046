"""The native WebSocket protocol's messages and their encoding, without any socket.

JSON text carries control, binary carries audio. ``decode_client`` and ``decode_server`` never
raise anything but ``InputError``; unknown fields are ignored, unknown message types are not.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, TypeAlias, get_args

from streaming.errors import BadConfig, BadMessage
from streaming.fields import Changes, nest_fields, parse_fields

PROTOCOL_VERSION = "1"
DEFAULT_CONTEXT = "default"

_HEADER = struct.Struct("!IIQ")
HEADER_BYTES = _HEADER.size
"""Length of the header of a tagged binary message: network byte order, 16 bytes."""

_CONTEXT_ID_CHARS = 128
_TOKEN_CHARS = 128
_MOST_VALUES = 40_000
"""Commas and opening brackets of a message: what decoding one costs grows with them."""
_LONGEST_INTEGER = 100
_MOST_RESUMED = 256


# -- client to server ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """Sticky defaults of the connection; may be sent again.

    ``resume`` asks the server to keep what a lost client misses; ``resume_token`` goes on where
    another connection was lost, at ``next_sample`` of each context.
    """

    type: ClassVar[str] = "session.config"
    changes: Changes = field(default_factory=dict)
    resume: bool | None = None
    resume_token: str | None = None
    next_sample: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InputText:
    """Append text to a context; ``changes`` hold for this context from here on."""

    type: ClassVar[str] = "input.text"
    text: str
    context_id: str = DEFAULT_CONTEXT
    changes: Changes = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFlush:
    """Speak what is buffered now, keep the context open."""

    type: ClassVar[str] = "input.flush"
    context_id: str = DEFAULT_CONTEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class InputDone:
    """No more text in this context."""

    type: ClassVar[str] = "input.done"
    context_id: str = DEFAULT_CONTEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class InputCancel:
    """Barge-in: stop at once; ``played_samples`` is how far the listener heard."""

    type: ClassVar[str] = "input.cancel"
    context_id: str = DEFAULT_CONTEXT
    played_samples: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """Answered with pong."""

    type: ClassVar[str] = "ping"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClose:
    """Finish what is open and close."""

    type: ClassVar[str] = "session.close"


ClientMessage: TypeAlias = (
    SessionConfig | InputText | InputFlush | InputDone | InputCancel | Ping | SessionClose
)


# -- server to client ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCreated:
    """First message of every connection: who answers and the published limits."""

    type: ClassVar[str] = "session.created"
    session_id: str
    model: str
    version: str
    limits: Mapping[str, Any]
    voices_etag: str | None = None
    resume_token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioStart:
    """A chunk begins; ``utterance_index`` is the context number of tagged binary headers."""

    type: ClassVar[str] = "audio.start"
    context_id: str
    utterance_index: int
    sentence_index: int
    sentence_text: str
    normalized_text: str
    format: str
    sample_rate: int
    channels: int
    first_sample: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioDelta:
    """Audio inside JSON (``encoding: "base64"``); the other fields are those of the header."""

    type: ClassVar[str] = "audio.delta"
    context_id: str
    utterance_index: int
    sequence: int
    first_sample: int
    audio: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioDone:
    """A chunk ended; the sum of ``samples`` is exactly the PCM bytes of the context / 2."""

    type: ClassVar[str] = "audio.done"
    context_id: str
    sentence_index: int
    samples: int
    total_bytes: int
    duration_ms: float
    quality: Mapping[str, Any] = field(default_factory=dict)
    timestamps: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The context was cancelled; no audio byte of it follows."""

    type: ClassVar[str] = "cancelled"
    context_id: str
    sent_samples: int
    heard_text_end: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResumed:
    """A context goes on after a reconnect.

    ``state`` is ``open``, ``complete`` (no more text is expected), ``ended`` or ``unknown``
    (nothing of it has arrived); text behind ``characters_in`` has to be sent again.
    """

    type: ClassVar[str] = "session.resumed"
    context_id: str
    next_sample: int
    state: str = "open"
    characters_in: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDone:
    """A context is spoken to its end; the socket stays open."""

    type: ClassVar[str] = "session.done"
    context_id: str
    total_sentences: int
    total_samples: int
    characters_in: int
    characters_spoken: int
    timings: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)
    subtitles: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Warn:
    """Something the listener should know; nothing ended."""

    type: ClassVar[str] = "warning"
    code: str
    message: str
    context_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A refusal or failure; with a ``context_id`` it is the end of that context."""

    type: ClassVar[str] = "error"
    code: str
    message: str
    request_id: str
    context_id: str | None = None
    param: str | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    """The answer to ping."""

    type: ClassVar[str] = "pong"


ServerMessage: TypeAlias = (
    SessionCreated
    | AudioStart
    | AudioDelta
    | AudioDone
    | Cancelled
    | SessionResumed
    | SessionDone
    | Warn
    | Failure
    | Pong
)

_SERVER: Mapping[str, type[ServerMessage]] = {kind.type: kind for kind in get_args(ServerMessage)}


# -- encoding ------------------------------------------------------------------------------------


def encode(message: ServerMessage | ClientMessage) -> str:
    """A message of either side as JSON text; fields that are None are left out."""
    body = {spec.name: getattr(message, spec.name) for spec in fields(message)}
    changes = nest_fields(body.pop("changes", {}))
    present = {name: value for name, value in body.items() if value is not None}
    return json.dumps({**changes, **present, "type": message.type}, allow_nan=False)


def decode_client(text: str) -> ClientMessage:
    """The message in ``text``; raises ``BadMessage``, and what ``parse_fields`` raises."""
    return message_from(parse_json(text))


def parse_json(text: str) -> dict[str, Any]:
    """A JSON object from an untrusted peer; raises ``BadMessage``."""
    if sum(map(text.count, "[{,")) > _MOST_VALUES:
        raise BadMessage(f"the message has more than {_MOST_VALUES} commas and brackets")
    try:
        value = json.loads(text, parse_int=_integer, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BadMessage("the message is not JSON") from None
    if not isinstance(value, dict):
        raise BadMessage("the message is not a JSON object")
    return value


def message_from(raw: Mapping[str, Any]) -> ClientMessage:
    """The client message in a decoded object; raises as ``decode_client`` does."""
    match raw.get("type"):
        case "session.config":
            return _config(raw)
        case "input.text":
            text = raw.get("text")
            if not isinstance(text, str):
                raise BadMessage("text must be a string", param="text")
            return InputText(text=text, context_id=context_of(raw), changes=parse_fields(raw))
        case "input.flush":
            return InputFlush(context_id=context_of(raw))
        case "input.done":
            return InputDone(context_id=context_of(raw))
        case "input.cancel":
            return InputCancel(context_id=context_of(raw), played_samples=_played(raw))
        case "ping":
            return Ping()
        case "session.close":
            return SessionClose()
    raise BadMessage("unknown message type", param="type")


def context_of(raw: Mapping[str, Any]) -> str:
    """The context a message names, or the default one; raises ``BadMessage``."""
    value = raw.get("context_id")
    if value is None:
        return DEFAULT_CONTEXT
    if not isinstance(value, str) or not value.isprintable():
        raise BadMessage("context_id must be printable text", param="context_id")
    if not 1 <= len(value) <= _CONTEXT_ID_CHARS:
        raise BadMessage(
            f"context_id must have 1 to {_CONTEXT_ID_CHARS} characters", param="context_id"
        )
    return value


def decode_server(text: str) -> ServerMessage:
    """The message in ``text``; raises ``BadMessage`` for anything a server would not send."""
    raw = parse_json(text)
    name = raw.get("type")
    kind = _SERVER.get(name) if isinstance(name, str) else None
    if kind is None:
        raise BadMessage("unknown message type", param="type")
    values: dict[str, Any] = {}
    for spec in fields(kind):
        if raw.get(spec.name) is not None:
            values[spec.name] = _typed(spec.name, raw[spec.name], str(spec.type))
        elif spec.default is MISSING and spec.default_factory is MISSING:
            raise BadMessage(f"{spec.name} is missing", param=spec.name)
    return kind(**values)


def tag(context: int, sequence: int, first_sample: int, audio: bytes) -> bytes:
    """A tagged binary message: context number, sequence, first sample, then the audio."""
    return _HEADER.pack(context, sequence, first_sample) + audio


def untag(data: bytes) -> tuple[int, int, int, bytes]:
    """Context number, sequence, first sample and audio; raises ``BadMessage`` when too short."""
    if len(data) < HEADER_BYTES:
        raise BadMessage("a tagged binary message begins with 16 bytes of header")
    context, sequence, first_sample = _HEADER.unpack_from(data)
    return context, sequence, first_sample, data[HEADER_BYTES:]


_SHAPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "Mapping": (dict,),
}


def _typed(name: str, value: object, annotation: str) -> object:
    """``value`` when it has the field's annotated type."""
    shape = _SHAPES[re.split(r"\W", annotation, maxsplit=1)[0]]
    if isinstance(value, bool) or not isinstance(value, shape):
        raise BadMessage(f"{name} has the wrong type", param=name)
    return value


def _config(raw: Mapping[str, Any]) -> SessionConfig:
    """Raises ``BadConfig``, and what ``parse_fields`` raises."""
    resume, token = raw.get("resume"), raw.get("resume_token")
    samples = raw.get("next_sample")
    if resume is not None and not isinstance(resume, bool):
        raise BadConfig("resume must be true or false", param="resume")
    if token is not None and not (isinstance(token, str) and 1 <= len(token) <= _TOKEN_CHARS):
        raise BadConfig("resume_token must be the token of a session", param="resume_token")
    named = isinstance(samples, Mapping) and all(map(_is_count, samples.values()))
    if samples is not None and not (named and len(samples) <= _MOST_RESUMED):
        raise BadConfig(
            f"next_sample must have the counts of samples of at most {_MOST_RESUMED} contexts",
            param="next_sample",
        )
    return SessionConfig(
        changes=parse_fields(raw), resume=resume, resume_token=token, next_sample=samples
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _played(raw: Mapping[str, Any]) -> int | None:
    value: int | None = raw.get("played_samples")
    if value is not None and not _is_count(value):
        raise BadMessage("played_samples must be a count of samples", param="played_samples")
    return value


def _integer(digits: str) -> int | float:
    """A long one is no integer to us: reading it costs the square of its length."""
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
