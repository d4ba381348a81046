"""Who can speak: voices listed, heard, added and deleted."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from server.admission import caller_of
from server.forms import read_form
from server.http import SpeechResponse
from server.jobs import read_job
from server.openapi import BINARY, OBJECT, SPEECH_ERRORS, ApiRoute, Operation, body_of
from server.operations import service_of
from speakers.catalog import MAX_RECORDINGS, Catalog, Speaker
from speakers.uploads import Sheet
from streaming.errors import BadRecording, UnknownVoice

PREVIEWS = {"en": "Hello, this is how I sound.", "zh": "你好，我的声音就是这样的。"}
"""What a voice says of itself, by language."""


async def voices(request: Request) -> Response:
    """``GET /v1/voices`` and ``GET /v1/audio/voices``; 304 for who knows them already."""
    catalog = service_of(request).catalog
    etag = f'"{catalog.etag}"'
    known = request.headers.get("if-none-match", "").split(",")
    if etag in (tag.strip().removeprefix("W/") for tag in known):
        return Response(status_code=304, headers={"ETag": etag})
    listed = [_entry(speaker, catalog) for speaker in catalog.speakers]
    return JSONResponse({"voices": listed}, headers={"ETag": etag})


async def voice(request: Request) -> Response:
    """``GET /v1/voices/{id}``."""
    catalog = service_of(request).catalog
    return JSONResponse(_entry(_find(request), catalog))


async def add(request: Request) -> Response:
    """``POST /v1/voices``: a multipart form becomes a voice that everybody can use at once."""
    service = service_of(request)
    caller = caller_of(request.scope)
    service.admission.check(caller)
    with service.casting.desk(caller.key_id):
        service.admission.spend_request(caller)
        form = await read_form(
            request, max_files=MAX_RECORDINGS, timeout_s=service.settings.body_timeout_s
        )
        if not form.files:
            raise BadRecording("a voice needs at least one recording", param="recordings")
        fields = form.fields
        sheet = Sheet(
            name=fields.get("name", ""),
            consent=fields.get("consent", ""),
            owner=caller.key_id,
            description=fields.get("description", ""),
            language=fields.get("language") or None,
        )
        speaker, warnings = await service.casting.enroll(sheet, form.files)
    body = {**_entry(speaker, service.catalog), **({"warnings": warnings} if warnings else {})}
    return JSONResponse(body, 201, {"Location": f"/v1/voices/{quote(speaker.name)}"})


async def delete(request: Request) -> Response:
    """``DELETE /v1/voices/{id}``, by who added it."""
    owner = caller_of(request.scope).key_id
    await service_of(request).casting.dismiss(request.path_params["id"], owner=owner)
    return Response(status_code=204)


async def preview(request: Request) -> Response:
    """``GET /v1/voices/{id}/preview``: a sentence in that voice, as a WAV."""
    service = service_of(request)
    speaker = _find(request)
    if request.method == "HEAD":
        head = Response(media_type="audio/wav")
        del head.headers["content-length"]
        return head
    wanted = (speaker.language or "").split("-")[0].lower()
    languages = service.info.languages
    language = wanted if wanted in languages else languages[0]
    raw = {
        "input": PREVIEWS.get(language, PREVIEWS["en"]),
        "voice": speaker.name,
        "response_format": "wav",
        "seed": 1,
    }
    return SpeechResponse(service, read_job(raw, service, request.state.request_id))


def _find(request: Request) -> Speaker:
    speaker = service_of(request).catalog.table.get(request.path_params["id"])
    if speaker is None:
        raise UnknownVoice("there is no voice of that name", param="voice")
    return speaker


def _entry(speaker: Speaker, catalog: Catalog) -> dict[str, Any]:
    return {
        "id": speaker.name,
        "voice_id": speaker.name,
        "name": speaker.name,
        "category": "premade" if speaker.owner is None else "cloned",
        "description": speaker.description,
        "language": speaker.language,
        "aliases": list(speaker.aliases),
        "default": speaker is catalog.default,
        "uploaded": speaker.owner is not None,
        "recordings": len(speaker.files),
        **({"unavailable": speaker.unavailable} if speaker.unavailable else {}),
        **({"warnings": list(speaker.warnings)} if speaker.warnings else {}),
    }


_LIST = Operation(answers={200: {"application/json": OBJECT}, 304: {}})
_FORM = body_of(
    ["name", "consent", "recordings"],
    name={"type": "string", "minLength": 1},
    consent={"type": "string", "minLength": 1},
    recordings={
        "type": "array",
        "items": BINARY,
        "minItems": 1,
        "maxItems": MAX_RECORDINGS,
    },
    description={"type": "string"},
    language={"type": "string"},
)
_ADD = Operation(
    body=_FORM,
    body_type="multipart/form-data",
    answers={201: {"application/json": OBJECT}},
    errors=(
        "bad_message",
        "bad_config",
        "bad_recording",
        "reference_refused",
        "rate_limited",
        "overloaded",
        "draining",
        "engine_failed",
    ),
)
_DELETE = Operation(
    answers={204: {}}, errors=("bad_config", "unknown_voice", "forbidden", "draining")
)
_PREVIEW = Operation(answers={200: {"audio/wav": BINARY}}, errors=SPEECH_ERRORS)

ROUTES: list[BaseRoute] = [
    ApiRoute("/v1/audio/voices", voices, _LIST),
    ApiRoute("/v1/voices", voices, _LIST),
    ApiRoute("/v1/voices", add, _ADD, method="POST"),
    ApiRoute("/v1/voices/{id}", voice, Operation(errors=("unknown_voice",))),
    ApiRoute("/v1/voices/{id}", delete, _DELETE, method="DELETE"),
    ApiRoute("/v1/voices/{id}/preview", preview, _PREVIEW),
]
"""This door's."""
