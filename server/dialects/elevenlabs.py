"""ElevenLabs' text-to-speech over HTTP: whole, streamed, with the times of its characters."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, WebSocketRoute

from server.dialects.elevenlabs_fields import (
    DEFAULT_OUTPUT,
    OUTPUTS,
    Aligner,
    error_response,
    read_changes,
    read_output,
)
from server.dialects.elevenlabs_socket import multi_stream_input, stream_input
from server.dialects.translated import OWN_FIELDS
from server.http import SpeechResponse, read_json
from server.jobs import SpeechJob, read_text
from server.openapi import (
    AUDIO,
    LINES,
    OBJECT,
    SPEECH_ERRORS,
    ApiRoute,
    Operation,
    body_of,
    fields_of,
)
from server.service import SynthesisService
from streaming.errors import SpeechError
from streaming.events import AudioFrame, ChunkDone, ChunkStarted
from streaming.fields import FIELDS, SpeechConfig
from streaming.timings import Span

FORMATS = tuple(dict.fromkeys(output.format for output in OUTPUTS.values()))
"""What this door offers."""


KEY_HEADER = "xi-api-key"
"""What every client of ElevenLabs sends."""


class Spoken(SpeechResponse):
    """Audio, with errors in ElevenLabs' form."""

    def refusal(self, error: SpeechError) -> Response:
        """An error before the first byte."""
        return error_response(error)


class TimedLines(Spoken):
    """A line of JSON per piece of audio; the last of a chunk has the times of its characters."""

    def content_kind(self) -> str:
        """Lines of JSON."""
        return "application/x-ndjson"

    async def content(self) -> AsyncGenerator[bytes]:
        """The lines; each is held until it is known whether its chunk goes on."""
        async with aclosing(self.timed()) as pieces:
            async for audio, written, read in pieces:
                line = {
                    "audio_base64": base64.b64encode(audio).decode("ascii"),
                    "alignment": times(written),
                    "normalized_alignment": times(read),
                }
                yield json.dumps(line).encode() + b"\n"

    async def timed(
        self,
    ) -> AsyncGenerator[tuple[bytes, Sequence[Span], Sequence[Span]]]:
        """Pieces of audio with the characters of the chunks that end in them."""
        held = b""
        aligner: Aligner | None = None
        async with aclosing(self.encoded()) as events:
            async for event, piece in events:
                match event:
                    case ChunkStarted():
                        aligner = Aligner(
                            text=event.text,
                            normalized_text=event.normalized_text,
                            first_sample=event.first_sample,
                            sample_rate_hz=event.sample_rate_hz,
                        )
                    case AudioFrame() if aligner:
                        aligner.push(event.pcm)
                        if held:
                            yield held, (), ()
                        held = piece
                    case ChunkDone() if aligner:
                        yield held, *aligner.times()
                        held = b""
                    case _ if piece:
                        yield piece, (), ()


class TimedWhole(TimedLines):
    """One JSON object of all the audio and the times of all characters."""

    def content_kind(self) -> str:
        """One object."""
        return "application/json"

    async def content(self) -> AsyncGenerator[bytes]:
        """The object, in pieces."""
        rest, written, read = b"", list[Span](), list[Span]()
        yield b'{"audio_base64": "'
        async with aclosing(self.timed()) as pieces:
            async for audio, more_written, more_read in pieces:
                rest += audio
                whole = len(rest) - len(rest) % 3
                yield base64.b64encode(rest[:whole])
                rest = rest[whole:]
                written += more_written
                read += more_read
        end = {"alignment": times(written), "normalized_alignment": times(read)}
        yield base64.b64encode(rest) + b'", ' + json.dumps(end).encode()[1:]


def times(characters: Sequence[Span]) -> dict[str, list[Any]] | None:
    """Characters and their times, as ElevenLabs' HTTP routes have them."""
    if not characters:
        return None
    return {
        "characters": [span.text for span in characters],
        "character_start_times_seconds": [round(span.start_ms / 1000, 4) for span in characters],
        "character_end_times_seconds": [round(span.end_ms / 1000, 4) for span in characters],
    }


async def convert(request: Request) -> Response:
    """``POST /v1/text-to-speech/{voice_id}``."""
    return await _answer(request, Spoken, streamed=False)


async def stream(request: Request) -> Response:
    """``POST /v1/text-to-speech/{voice_id}/stream``."""
    return await _answer(request, Spoken, streamed=True)


async def convert_with_timestamps(request: Request) -> Response:
    """``POST /v1/text-to-speech/{voice_id}/with-timestamps``."""
    return await _answer(request, TimedWhole, streamed=False)


async def stream_with_timestamps(request: Request) -> Response:
    """``POST /v1/text-to-speech/{voice_id}/stream/with-timestamps``."""
    return await _answer(request, TimedLines, streamed=True)


async def models(request: Request) -> Response:
    """What ElevenLabs' clients read at ``/v1/models``."""
    service: SynthesisService[Any] = request.app.state.service
    info, most = service.info, service.settings.limits.context_characters
    model = {
        "model_id": info.name,
        "name": info.name,
        "description": f"{info.name} {info.version}",
        "can_do_text_to_speech": True,
        "can_do_voice_conversion": False,
        "can_be_finetuned": False,
        "can_use_style": False,
        "can_use_speaker_boost": False,
        "serves_pro_voices": False,
        "requires_alpha_access": False,
        "maximum_text_length_per_request": most,
        "languages": [{"language_id": name, "name": name} for name in info.languages],
    }
    return JSONResponse([model])


async def _answer(request: Request, kind: type[Spoken], *, streamed: bool) -> Response:
    service: SynthesisService[Any] = request.app.state.service
    raw = await read_json(request, service)
    return kind(service, _read_job(raw, request, service, streamed=streamed))


def _read_job(
    raw: Mapping[str, Any], request: Request, service: SynthesisService[Any], *, streamed: bool
) -> SpeechJob:
    """What a body and its URL ask for; raises ``InputError``."""
    output = read_output(request.query_params.get("output_format", DEFAULT_OUTPUT))
    text = read_text(raw, "text", service.settings.limits.context_characters)
    changes = {**read_changes(raw, service), "voice": request.path_params["voice_id"]}
    config = replace(
        SpeechConfig().updated(changes), format=output.format, sample_rate=output.sample_rate_hz
    )
    service.check(config, FORMATS)
    return SpeechJob(
        request_id=request.state.request_id,
        text=text,
        config=config,
        sample_rate_hz=output.sample_rate_hz,
        sse=False,
        streamed=streamed,
        bit_rate=output.bit_rate,
    )


_SPEECH = "/v1/text-to-speech/{voice_id}"
_AUDIO = Operation(
    body=body_of(
        ["text"],
        text={"type": "string", "minLength": 1},
        model_id={"type": "string"},
        language_code=FIELDS["language"].schema,
        voice_settings=body_of([], speed=FIELDS["speed"].schema),
        seed=FIELDS["sampling"].schema["properties"]["seed"],
        **fields_of(*OWN_FIELDS),
    ),
    query={"output_format": {"enum": list(OUTPUTS)}},
    answers={200: AUDIO},
    errors=SPEECH_ERRORS,
    error=OBJECT,
)
_TIMED = replace(_AUDIO, answers={200: {"application/json": OBJECT}})
_LINES = replace(_AUDIO, answers={200: LINES})

ROUTES: list[BaseRoute] = [
    WebSocketRoute(f"{_SPEECH}/stream-input", stream_input),
    WebSocketRoute(f"{_SPEECH}/multi-stream-input", multi_stream_input),
    ApiRoute(_SPEECH, convert, _AUDIO, method="POST"),
    ApiRoute(f"{_SPEECH}/stream", stream, _AUDIO, method="POST"),
    ApiRoute(f"{_SPEECH}/with-timestamps", convert_with_timestamps, _TIMED, method="POST"),
    ApiRoute(f"{_SPEECH}/stream/with-timestamps", stream_with_timestamps, _LINES, method="POST"),
]
"""This door's."""
