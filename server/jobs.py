"""What a ``POST /v1/audio/speech`` asks for, checked before anything is spoken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from server.encoding import FORMATS
from server.openapi import body_of, fields_of
from server.service import SynthesisService
from streaming.errors import (
    BadConfig,
    BadMessage,
    EmptyInput,
    InvalidText,
    TextTooLong,
    UnsupportedFormat,
)
from streaming.fields import (
    FIELDS,
    MAX_EMOTION_CHARS,
    Changes,
    EmotionConfig,
    SpeechConfig,
    parse_fields,
)
from streaming.speech import Recording
from streaming.surrogates import join_text

PCM_RATE_HZ = 24_000
"""What OpenAI's clients take ``pcm`` for, whatever rate the model has; Opus knows it, too."""

DEFAULT = SpeechConfig(format="mp3")
"""What OpenAI's route speaks when it is not told otherwise."""

_WHOLE = ("wav", "flac")
"""Files whose header tells their length."""

BODY = body_of(
    ["input"],
    input={"type": "string", "minLength": 1},
    model={"type": "string"},
    instructions={"type": "string"},
    stream={"type": "boolean"},
    stream_format={"enum": ["audio", "sse"]},
    seed=FIELDS["sampling"].schema["properties"]["seed"],
    **fields_of(
        "voice",
        "response_format",
        "sample_rate",
        "speed",
        "language",
        "glossary",
        "emotion",
        "sampling",
        "chunking",
    ),
)
"""What ``read_job`` reads."""

_SESSION_ONLY = ("encoding", "framing", "max_lead_s", "timestamps", "subtitles")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechJob:
    """One text to speak over HTTP: as events (``sse``), as it is made (``streamed``), or whole.

    ``recordings`` speak instead of the configuration's voice.
    """

    request_id: str
    text: str
    config: SpeechConfig
    sample_rate_hz: int
    sse: bool
    streamed: bool
    bit_rate: int | None = None
    recordings: tuple[Recording, ...] = ()


def read_job(
    raw: Mapping[str, Any],
    service: SynthesisService[Any],
    request_id: str,
    *,
    default: SpeechConfig = DEFAULT,
) -> SpeechJob:
    """The job in a request body, ``default`` where it says nothing; raises ``InputError``."""
    text = read_text(raw, "input", service.settings.limits.context_characters)
    for name in _SESSION_ONLY:
        if raw.get(name) is not None:
            raise BadConfig(f"{name} belongs to the WebSocket", param=name)
    config = default.updated(parse_fields(raw))
    if service.info.emotion_from_text:
        config = _with_instructions(config, raw.get("instructions"))
    config = config.updated(_seed(raw))
    try:
        service.check(config, FORMATS)
    except UnsupportedFormat as error:
        error.param = "response_format"
        raise
    if config.sample_rate is None and config.format in ("pcm", "opus"):
        config = replace(config, sample_rate=PCM_RATE_HZ)
    sse, streamed = _delivery(raw, config.format)
    return SpeechJob(
        request_id=request_id,
        text=text,
        config=config,
        sample_rate_hz=config.sample_rate or service.info.sample_rate_hz,
        sse=sse,
        streamed=streamed,
    )


def read_text(raw: Mapping[str, Any], name: str, most: int) -> str:
    """A whole text to speak, of at most ``most`` characters; raises ``InputError``."""
    value = raw.get(name)
    if not isinstance(value, str):
        raise BadMessage(f"{name} must be a string", param=name)
    if len(value) > most:
        raise TextTooLong(f"{name} takes at most {most} characters", param=name)
    try:
        text, held = join_text("", value)
        join_text("", f"{held} " if held else "")
    except InvalidText as error:
        error.param = name
        raise
    if not text.strip():
        raise EmptyInput("there is nothing to speak", param=name)
    return text


def _seed(raw: Mapping[str, Any]) -> Changes:
    try:
        return parse_fields({"sampling": {"seed": raw.get("seed")}})
    except BadConfig as error:
        raise BadConfig(error.message.removeprefix("sampling."), param="seed") from None


def _with_instructions(config: SpeechConfig, instructions: object) -> SpeechConfig:
    """OpenAI's ``instructions`` say how to speak, which here is an emotion's text.

    They are advice: a server that cannot follow it speaks all the same.
    """
    if instructions is None or instructions == "" or config.emotion != EmotionConfig():
        return config
    try:
        if isinstance(instructions, str):
            instructions = instructions[:MAX_EMOTION_CHARS]
        return config.updated(parse_fields({"emotion": {"text": instructions}}))
    except BadConfig as error:
        raise BadConfig(error.message, param="instructions") from None


def _delivery(raw: Mapping[str, Any], audio_format: str) -> tuple[bool, bool]:
    """Whether as events, and whether as it is made.

    WAV and FLAC come whole, with their true length, unless a stream is asked for.
    """
    stream, stream_format = raw.get("stream"), raw.get("stream_format")
    if stream is not None and not isinstance(stream, bool):
        raise BadConfig("stream must be true or false", param="stream")
    if stream_format not in (None, "audio", "sse"):
        raise BadConfig("stream_format must be audio or sse", param="stream_format")
    if stream_format is None:
        return stream is True, stream is True or (stream is None and audio_format not in _WHOLE)
    return stream_format == "sse", stream_format == "sse" or stream is not False
