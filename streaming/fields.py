"""What a listener can ask for: one table of fields, shared by every door.

``parse_fields`` turns a decoded JSON object into checked changes, ``SpeechConfig.updated`` applies
them. Nothing here knows messages or routes.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeAlias, cast

from streaming.errors import (
    BadConfig,
    BadRecording,
    InputError,
    ReferenceRefused,
    UnsupportedFormat,
)
from streaming.request import EMOTIONS, Chunking, Emotion, Sampling, SynthesisRequest

MAX_REFERENCE_BYTES = 2_000_000
"""Largest emotion recording inside a message, decoded."""

MAX_PLACE_CHARS = 2_048
"""Longest path or URL of a recording."""

SAMPLE_RATES_HZ = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
"""Rates on offer."""

MAX_EMOTION_CHARS = 500
"""Longest description of an emotion."""

MOST_TERMS, LONGEST_TERM = 100, 64
"""Entries of a glossary, and characters of a term or of how it is read."""

TIMESTAMPS = ("off", "chunk", "word", "char")
SUBTITLES = ("srt", "vtt")

FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
"""Formats the vocabulary knows; each door says which of them it offers."""

Changes: TypeAlias = Mapping[str, Any]
"""Checked values by dotted field name (``sampling.top_p``)."""

Test: TypeAlias = Callable[[str, object], object]
"""Takes a field's dotted name and its raw value, gives the checked value or raises InputError."""

_PLAIN = r"[^\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]+"
_NAME = re.compile(r"[^\x00-\x1f\x7f/\\:]{1,64}")
_SHORT_CHARS = 64


@dataclass(frozen=True, slots=True)
class Check:
    """What a field may hold: the ``test`` of it, and the JSON Schema that says the same."""

    test: Test
    schema: Mapping[str, Any]

    def __call__(self, name: str, value: object) -> object:
        """The checked value; raises ``InputError``."""
        return self.test(name, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionConfig:
    """How it should sound, as asked: ``reference`` is a speaker's name, a recording's
    bytes, or a path or URL.
    """

    vector: tuple[float, ...] | None = None
    text: str | None = None
    reference: str | bytes | None = None
    weight: float = 1.0
    random: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechConfig:
    """Every field a listener can set, with its default; ``updated`` gives a changed copy."""

    voice: str | None = None
    format: str = "pcm"
    sample_rate: int | None = None
    speed: float = 1.0
    language: str | None = None
    glossary: Mapping[str, str] = field(default_factory=dict)
    emotion: EmotionConfig = field(default_factory=EmotionConfig)
    sampling: Sampling = field(default_factory=Sampling)
    chunking: Chunking = field(default_factory=Chunking)
    encoding: str = "binary"
    framing: str = "plain"
    max_lead_s: float | None = None
    timestamps: str = "off"
    subtitles: str | None = None

    def updated(self, changes: Changes) -> SpeechConfig:
        """This configuration with the changed fields; an emotion is replaced as a whole."""
        top = {name: value for name, value in changes.items() if "." not in name}
        for group in ("sampling", "chunking"):
            prefix = f"{group}."
            inner = {k.removeprefix(prefix): v for k, v in changes.items() if k.startswith(prefix)}
            top[group] = replace(getattr(self, group), **inner)
        return replace(self, **top)

    def request(self, *, request_id: str, voice: str, seed: int) -> SynthesisRequest:
        """The request of one context; ``voice`` and ``seed`` stand in where none was asked for.

        A reference recording is resolved by the service, which knows voices.
        """
        asked = self.emotion
        return SynthesisRequest(
            request_id=request_id,
            voice=self.voice or voice,
            seed=self.sampling.seed if self.sampling.seed is not None else seed,
            language=self.language,
            glossary=self.glossary,
            speed=self.speed,
            sample_rate_hz=self.sample_rate,
            emotion=Emotion(
                vector=asked.vector, text=asked.text, weight=asked.weight, random=asked.random
            ),
            sampling=self.sampling,
            chunking=self.chunking,
        )


def parse_fields(raw: Mapping[str, object], table: Mapping[str, Check] | None = None) -> Changes:
    """Checked changes from a decoded JSON object; unknown fields are ignored, null means absent.

    Raises ``BadConfig``, ``UnsupportedFormat``, ``ReferenceRefused`` or ``BadRecording``, always
    with ``param``.
    """
    changes: dict[str, Any] = {}
    for name, check in (FIELDS if table is None else table).items():
        value = raw.get(name)
        if value is None:
            continue
        checked = check(name, value)
        if isinstance(checked, _Group):
            changes.update({f"{name}.{key}": inner for key, inner in checked.values.items()})
        elif checked is not None:
            changes[ALIASES.get(name, name)] = checked
    return changes


def nest_fields(changes: Changes) -> dict[str, Any]:
    """The JSON object that ``parse_fields`` reads ``changes`` from."""
    raw: dict[str, Any] = {}
    for name, value in changes.items():
        group, _, key = name.rpartition(".")
        if isinstance(value, EmotionConfig):
            value = {k: v for k, v in asdict(value).items() if v is not None}
            if isinstance(value.get("reference"), bytes):
                value["reference"] = base64.b64encode(value["reference"]).decode()
        (raw.setdefault(group, {}) if group else raw)[key] = value
    return raw


@dataclass(frozen=True, slots=True)
class _Group:
    values: Changes


def _refuse(name: str, why: str, error: type[InputError] = BadConfig) -> InputError:
    return error(f"{name} {why}", param=name)


def _number(low: float, high: float, *, above: float | None = None) -> Check:
    def check(name: str, value: object) -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not low <= value <= high  # false for NaN
            or value == above
        ):
            raise _refuse(name, f"must be a number from {low:g} to {high:g}")
        return float(value)

    lowest = "minimum" if above is None else "exclusiveMinimum"
    return Check(check, {"type": "number", lowest: low, "maximum": high})


def _integer(low: int, high: int) -> Check:
    def check(name: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise _refuse(name, f"must be a whole number from {low} to {high}")
        return value

    return Check(check, {"type": "integer", "minimum": low, "maximum": high})


def _choice(*offered: object, error: type[InputError] = BadConfig) -> Check:
    def check(name: str, value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, str | int) or value not in offered:
            raise _refuse(name, f"must be one of {', '.join(map(str, offered))}", error)
        return value

    return Check(check, {"enum": list(offered)})


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _refuse(name, "must be true or false")
    return value


def _text(max_chars: int, pattern: str = _PLAIN) -> Check:
    allowed = re.compile(pattern)

    def check(name: str, value: object) -> str:
        if not isinstance(value, str) or len(value) > max_chars or not allowed.fullmatch(value):
            raise _refuse(name, f"must be plain text of 1 to {max_chars} characters")
        return value

    schema = {"type": "string", "minLength": 1, "maxLength": max_chars}
    return Check(check, schema if pattern == _PLAIN else schema | {"pattern": f"^{pattern}$"})


def _voice(name: str, value: object) -> str:
    """A speaker's name, or OpenAI's object form ``{"id": name}``."""
    if isinstance(value, Mapping):
        value = value.get("id")
    if not isinstance(value, str) or not value.isprintable() or not 1 <= len(value) <= 64:
        raise _refuse(name, "must be the name of a voice")
    return value


def _vector(name: str, value: object) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != len(EMOTIONS):
        raise _refuse(name, f"must have {len(EMOTIONS)} values: {', '.join(EMOTIONS)}")
    check = _number(0.0, 1.0)
    return tuple(cast(float, check(name, item)) for item in value)


def is_place(reference: str) -> bool:
    """Whether a reference names a file or URL rather than a speaker."""
    return not _NAME.fullmatch(reference)


def _reference(name: str, value: object) -> str | bytes:
    """A speaker's name, base64 audio, or a place (``is_place``), which nothing here opens."""
    if not isinstance(value, str) or not value:
        raise _refuse(name, "must be a voice or base64 audio")
    encoded = value.partition(",")[2] if value.startswith("data:") else value
    if len(encoded) > MAX_REFERENCE_BYTES * 4 // 3 + 4:
        raise _refuse(name, f"is larger than {MAX_REFERENCE_BYTES} bytes", BadRecording)
    # "/etc/passwd" has base64's alphabet, but nothing this short is a recording.
    if len(encoded) > _SHORT_CHARS:
        with suppress(ValueError):
            return base64.b64decode(encoded, validate=True)
    if len(value) > MAX_PLACE_CHARS or not value.isprintable():
        raise _refuse(name, "may not be this path or URL", ReferenceRefused)
    return value


def _group(table: Mapping[str, Check]) -> Check:
    def check(name: str, value: object) -> _Group:
        if not isinstance(value, Mapping):
            raise _refuse(name, "must be an object")
        inner: dict[str, object] = {}
        for key, inner_check in table.items():
            if value.get(key) is not None:
                inner[key] = inner_check(f"{name}.{key}", value[key])
        return _Group(inner)

    schema = {"type": "object", "properties": {k: v.schema for k, v in table.items()}}
    return Check(check, schema)


def _emotion(name: str, value: object) -> EmotionConfig:
    group = _group(_EMOTION)(name, value)
    assert isinstance(group, _Group)
    if sum(key in group.values for key in ("vector", "text", "reference")) > 1:
        raise _refuse(name, "takes one of vector, text and reference")
    return EmotionConfig(**group.values)


def _glossary(name: str, value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or len(value) > MOST_TERMS:
        raise _refuse(name, f"must be an object of at most {MOST_TERMS} terms")
    check = _text(LONGEST_TERM)
    return {str(check(name, term)): str(check(name, spoken)) for term, spoken in value.items()}


def _timestamps(name: str, value: object) -> object:
    """One of ``TIMESTAMPS``, or whether words are wanted."""
    if isinstance(value, bool):
        return "word" if value else "off"
    return _choice(*TIMESTAMPS)(name, value)


_EMOTION: Mapping[str, Check] = {
    "vector": Check(
        _vector,
        {
            "type": "array",
            "items": {"type": "number", "minimum": 0, "maximum": 1},
            "minItems": len(EMOTIONS),
            "maxItems": len(EMOTIONS),
        },
    ),
    "text": _text(MAX_EMOTION_CHARS),
    "reference": Check(_reference, {"type": "string", "minLength": 1}),
    "weight": _number(0.0, 1.0),
    "random": Check(_flag, {"type": "boolean"}),
}

_VOICE_ID = {"type": "string", "minLength": 1, "maxLength": 64}

ALIASES: Mapping[str, str] = {"response_format": "format"}
"""Field names other servers use, and ours."""

FIELDS: Mapping[str, Check] = {
    "voice": Check(
        _voice,
        {
            "anyOf": [
                _VOICE_ID,
                {"type": "object", "properties": {"id": _VOICE_ID}, "required": ["id"]},
            ]
        },
    ),
    "response_format": _choice(*FORMATS, error=UnsupportedFormat),
    "format": _choice(*FORMATS, error=UnsupportedFormat),
    "sample_rate": _choice(*SAMPLE_RATES_HZ, error=UnsupportedFormat),
    "speed": _number(0.25, 4.0),
    "language": _text(16, r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*"),
    "glossary": Check(
        _glossary,
        {
            "type": "object",
            "maxProperties": MOST_TERMS,
            "propertyNames": _text(LONGEST_TERM).schema,
            "additionalProperties": _text(LONGEST_TERM).schema,
        },
    ),
    "emotion": Check(_emotion, _group(_EMOTION).schema),
    "sampling": _group(
        {
            "temperature": _number(0.0, 2.0),
            "top_p": _number(0.0, 1.0, above=0.0),
            "top_k": _integer(0, 1_000),
            "repetition_penalty": _number(1.0, 20.0),
            "seed": _integer(0, 2**63 - 1),
        }
    ),
    "chunking": _group(
        {
            "first_max_tokens": _integer(1, 1_000),
            "max_tokens": _integer(1, 1_000),
            "gap_ms": _integer(0, 2_000),
            "flush_after_ms": _integer(50, 10_000),
        }
    ),
    "encoding": _choice("binary", "base64"),
    "framing": _choice("plain", "tagged"),
    "max_lead_s": _number(0.1, 600.0),
    "timestamps": Check(_timestamps, {"enum": [*TIMESTAMPS, True, False]}),
    "subtitles": _choice(*SUBTITLES),
}
"""Every field a configuration can carry, with what it may hold."""
