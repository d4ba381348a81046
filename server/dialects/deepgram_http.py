"""Deepgram's ``POST /v1/speak``, and what its query asks for on either door."""

from __future__ import annotations

import re
import struct
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.admission import caller_of
from server.dialects.translated import OWN_FIELDS, Output, own_fields
from server.errors import ANSWERS, error_headers
from server.http import SpeechResponse, read_json
from server.jobs import SpeechJob, read_text
from server.openapi import AUDIO, OBJECT, SPEECH_ERRORS, Operation, body_of, fields_of
from server.service import SynthesisService
from speakers.catalog import Catalog
from streaming.errors import (
    BadConfig,
    SpeechError,
    UnknownVoice,
    UnsupportedFormat,
)
from streaming.fields import FIELDS, SAMPLE_RATES_HZ, SpeechConfig, parse_fields
from streaming.wav import UNKNOWN_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """What an ``encoding`` offers; the first rate and container are those without a word."""

    format: str
    rates_hz: tuple[int, ...]
    containers: tuple[str, ...]
    bit_rate: int | None = None
    bit_rates: range = range(0)


ENCODINGS: Mapping[str, Encoding] = {
    "mp3": Encoding(
        format="mp3",
        rates_hz=(22_050,),
        containers=("none",),
        bit_rate=48_000,
        bit_rates=range(32_000, 48_001, 16_000),
    ),
    "linear16": Encoding(
        format="pcm", rates_hz=(24_000, *SAMPLE_RATES_HZ), containers=("wav", "none")
    ),
    "mulaw": Encoding(format="ulaw", rates_hz=(8_000, 16_000), containers=("wav", "none")),
    "alaw": Encoding(format="alaw", rates_hz=(8_000, 16_000), containers=("wav", "none")),
    "opus": Encoding(
        format="opus",
        rates_hz=(48_000,),
        containers=("ogg",),
        bit_rate=12_000,
        bit_rates=range(4_000, 500_001),
    ),
    "flac": Encoding(format="flac", rates_hz=(48_000, *SAMPLE_RATES_HZ), containers=("none",)),
    "aac": Encoding(
        format="aac",
        rates_hz=(22_050,),
        containers=("none",),
        bit_rate=48_000,
        bit_rates=range(4_000, 192_001),
    ),
}
"""What ``encoding`` may be; the first one is the default over HTTP."""

_WAVE_TAGS: Mapping[str, int] = {"alaw": 6, "ulaw": 7}
"""How a WAV file calls G.711 (RFC 2361)."""

_DIGITS = re.compile(r"[0-9]{1,7}")

_FOREIGN_VOICES = ("aura-",)
"""How Deepgram's own voices begin; no server but Deepgram's has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """How the audio is encoded, and what it is wrapped in."""

    output: Output
    container: str


def read_encoding(query: Mapping[str, str]) -> Packed:
    """What the query asks for; raises ``UnsupportedFormat`` and ``BadConfig``."""
    name = query.get("encoding", next(iter(ENCODINGS)))
    if (encoding := ENCODINGS.get(name)) is None:
        raise UnsupportedFormat(f"encoding must be one of {', '.join(ENCODINGS)}", param="encoding")
    rate = query.get("sample_rate", str(encoding.rates_hz[0]))
    if rate not in map(str, encoding.rates_hz):
        offered = ", ".join(map(str, sorted(set(encoding.rates_hz))))
        raise UnsupportedFormat(f"sample_rate of {name} must be {offered}", param="sample_rate")
    container = query.get("container", encoding.containers[0])
    if container not in encoding.containers:
        offered = " or ".join(encoding.containers)
        raise UnsupportedFormat(f"container of {name} must be {offered}", param="container")
    bit_rate = encoding.bit_rate
    if (asked := query.get("bit_rate")) is not None:
        if not _DIGITS.fullmatch(asked) or int(asked) not in encoding.bit_rates:
            raise BadConfig(f"{name} has no such bit_rate", param="bit_rate")
        bit_rate = int(asked)
    output = Output(format=encoding.format, sample_rate_hz=int(rate), bit_rate=bit_rate)
    return Packed(output=output, container=container)


def read_voice(query: Mapping[str, str], catalog: Catalog) -> dict[str, Any]:
    """Voice, speed and language of a query, as checked changes.

    A voice of Deepgram's that nobody here is called after means the default one. Raises
    ``InputError``.
    """
    voice = query.get("model")
    try:
        catalog.resolve(voice)
    except UnknownVoice:
        if voice is None or not voice.startswith(_FOREIGN_VOICES):
            raise
        voice = None
    changes = parse_fields({"language": query.get("language"), "speed": _speed(query)})
    return {**changes, **({} if voice is None else {"voice": voice})}


def error_response(error: SpeechError) -> Response:
    """An error as Deepgram puts it."""
    body = {
        "err_code": error.code.upper(),
        "err_msg": error.message,
        **({"param": error.param} if error.param else {}),
        **({"request_id": error.request_id} if error.request_id else {}),
    }
    return JSONResponse(body, ANSWERS[error.code].status, error_headers(error))


class Spoken(SpeechResponse):
    """Audio in Deepgram's containers, with errors in its form."""

    def __init__(self, service: SynthesisService[Any], job: SpeechJob, container: str) -> None:
        super().__init__(service, job)
        self._g711_wav = container == "wav" and job.config.format in _WAVE_TAGS
        self._format, self._rate_hz = job.config.format, job.sample_rate_hz

    def refusal(self, error: SpeechError) -> Response:
        """An error before the first byte."""
        return error_response(error)

    def content_kind(self) -> str:
        """The container's media type, or the encoding's."""
        return "audio/wav" if self._g711_wav else super().content_kind()

    async def content(self) -> AsyncGenerator[bytes]:
        """The audio, behind the header of its container."""
        header = g711_header(self._format, self._rate_hz) if self._g711_wav else b""
        async with aclosing(super().content()) as pieces:
            async for piece in pieces:
                yield header + piece
                header = b""


async def speak(request: Request) -> Response:
    """``POST /v1/speak``."""
    service: SynthesisService[Any] = request.app.state.service
    packed = read_encoding(request.query_params)
    raw = await read_json(request, service)
    if raw.get("url") is not None:
        service.admission.check(caller_of(request.scope))
        raw["text"] = await service.references.text(raw["url"], param="url")
    return Spoken(service, _read_job(raw, request, service, packed), packed.container)


def g711_header(audio_format: str, sample_rate_hz: int) -> bytes:
    """What precedes mono G.711 in a WAV whose sizes are not known."""
    shape = struct.pack(
        "<HHIIHHH", _WAVE_TAGS[audio_format], 1, sample_rate_hz, sample_rate_hz, 1, 8, 0
    )
    unknown = struct.pack("<I", UNKNOWN_BYTES)
    chunks = b"fmt " + struct.pack("<I", len(shape)) + shape + b"fact\4\0\0\0" + unknown
    return b"RIFF" + unknown + b"WAVE" + chunks + b"data" + unknown


def _read_job(
    raw: Mapping[str, Any], request: Request, service: SynthesisService[Any], packed: Packed
) -> SpeechJob:
    """What a body and its query ask for; raises ``InputError``."""
    output = packed.output
    text = read_text(raw, "text", service.settings.limits.context_characters)
    changes = {**read_voice(request.query_params, service.catalog), **own_fields(raw)}
    wav = output.format == "pcm" and packed.container == "wav"
    config = replace(
        SpeechConfig().updated(changes),
        format="wav" if wav else output.format,
        sample_rate=output.sample_rate_hz,
    )
    service.check(config, (config.format,))
    return SpeechJob(
        request_id=request.state.request_id,
        text=text,
        config=config,
        sample_rate_hz=output.sample_rate_hz,
        sse=False,
        streamed=True,
        bit_rate=output.bit_rate,
    )


def _speed(query: Mapping[str, str]) -> float | None:
    try:
        return float(query["speed"]) if "speed" in query else None
    except ValueError:
        raise BadConfig("speed must be a number", param="speed") from None


SPEAK = Operation(
    body=body_of(["text"], text={"type": "string", "minLength": 1}, **fields_of(*OWN_FIELDS)),
    query={
        "model": {"type": "string"},
        "encoding": {"enum": list(ENCODINGS)},
        "sample_rate": {"enum": list(SAMPLE_RATES_HZ)},
        "container": {"enum": ["none", "wav", "ogg"]},
        "bit_rate": {"type": "integer"},
        "language": FIELDS["language"].schema,
        "speed": FIELDS["speed"].schema,
    },
    answers={200: AUDIO},
    errors=SPEECH_ERRORS,
    error=OBJECT,
)
"""What ``POST /v1/speak`` takes and gives."""
