"""What the HTTP routes take and give, as OpenAPI 3.1: written per door, put together here.

A door describes a route by making it an ``ApiRoute``; its schemas come from the tables that check
requests, its errors from ``server.errors``. What a function says of itself is the summary.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from server.encoding import FORMATS, content_type
from server.errors import ANSWERS
from server.openapi_page import render
from streaming.fields import FIELDS

Schema: TypeAlias = Mapping[str, Any]

OBJECT: Schema = {"type": "object"}
"""JSON whose fields are told elsewhere."""

BINARY: Schema = {"type": "string", "format": "binary"}
"""Bytes."""

AUDIO: Mapping[str, Schema] = {
    content_type(name, 0).partition(";")[0]: BINARY for name in (*FORMATS, "ulaw", "alaw")
}
"""Speech, as a file or as it is made."""

EVENTS: Mapping[str, Schema] = {"text/event-stream": {}}
"""Server-sent events."""

LINES: Mapping[str, Schema] = {"application/x-ndjson": {}}
"""A JSON value per line."""

NOT_FOUND = "not_found"
"""The code of a thing that a path names and that is not there."""

COMMON_ERRORS = ("unauthorized", "forbidden_origin", "internal")
"""What any route may answer."""

BODY_ERRORS = ("bad_message", "text_too_long")
"""What a route with a body may answer, too."""

SPEECH_ERRORS = (
    *BODY_ERRORS,
    "bad_config",
    "empty_input",
    "invalid_text",
    "unknown_voice",
    "unsupported_format",
    "reference_refused",
    "bad_recording",
    "rate_limited",
    "overloaded",
    "draining",
    "engine_failed",
    "synthesis_failed",
)
"""What a route that speaks may answer, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of a route: ``answers`` has media types and schemas by status, none for no body.

    ``errors`` are codes of ours besides ``COMMON_ERRORS``; ``error`` is how the door puts them.
    """

    body: Schema | None = None
    body_type: str = "application/json"
    query: Mapping[str, Schema] = field(default_factory=dict)
    answers: Mapping[int, Mapping[str, Schema]] = field(
        default_factory=lambda: {200: {"application/json": OBJECT}}
    )
    errors: tuple[str, ...] = ()
    error: Schema = field(default_factory=lambda: {"$ref": "#/components/schemas/Error"})


def body_of(required: Iterable[str], **properties: Schema) -> Schema:
    """The schema of a JSON body; what it does not name is ignored."""
    return {"type": "object", "required": list(required), "properties": properties}


def fields_of(*names: str) -> dict[str, Schema]:
    """Schemas of fields that every door shares."""
    return {name: FIELDS[name].schema for name in names}


class ApiRoute(Route):
    """A route that says what it takes and gives."""

    def __init__(
        self, path: str, endpoint: Any, operation: Operation, *, method: str = "GET"
    ) -> None:
        super().__init__(path, endpoint, methods=[method])
        self.operation = operation


def document(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """The OpenAPI document of all routes that are not WebSockets."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if not isinstance(route, Route):
            continue
        operation = route.operation if isinstance(route, ApiRoute) else Operation()
        for method in sorted((route.methods or {"GET"}) - {"HEAD"}):
            described = _described(route, operation)
            paths.setdefault(_plain(route.path), {})[method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "IndexTTS-Stream",
            "version": version("indextts-stream"),
            "description": "Speech while the text is still being written.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
        "security": [{}, {"bearer": []}, {"key": []}],
    }


class Pages:
    """The document and its page, written once: whoever asks for them needs no key."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        described = document(routes)
        self.json = JSONResponse(described).body
        self.html = HTMLResponse(render(described)).body


async def openapi(request: Request) -> Response:
    """``GET /openapi.json``: this document."""
    return Response(request.app.state.pages.json, media_type="application/json")


async def page(request: Request) -> Response:
    """``GET /docs``: the same for people."""
    return HTMLResponse(request.app.state.pages.html)


def _described(route: Route, operation: Operation) -> dict[str, Any]:
    summary = (inspect.getdoc(route.endpoint) or route.path).partition("\n")[0]
    described: dict[str, Any] = {
        "summary": re.sub(r"``([^`]*)``", r"\1", summary),
        "parameters": [
            *[_parameter(name, "path", {"type": "string"}) for name in _names(route.path)],
            *[_parameter(name, "query", schema) for name, schema in operation.query.items()],
        ],
        "responses": {
            **{
                str(status): {"description": "Success", "content": _content(media)}
                for status, media in operation.answers.items()
            },
            **_refusals((*operation.errors, *COMMON_ERRORS), operation.error),
        },
    }
    if operation.body is not None:
        content = _content({operation.body_type: operation.body})
        described["requestBody"] = {"required": True, "content": content}
    return described


def _refusals(codes: Iterable[str], schema: Schema) -> dict[str, Any]:
    """One answer per status, with the codes it may carry."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        status = 404 if code == NOT_FOUND else ANSWERS[code].status
        by_status.setdefault(status, []).append(code)
    return {
        str(status): {
            "description": ", ".join(codes),
            "content": _content({"application/json": schema}),
        }
        for status, codes in sorted(by_status.items())
    }


def _content(media: Mapping[str, Schema]) -> dict[str, Any]:
    return {name: {"schema": schema} for name, schema in media.items()}


def _parameter(name: str, place: str, schema: Schema) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def _names(path: str) -> list[str]:
    return re.findall(r"{(\w+)[^}]*}", path)


def _plain(path: str) -> str:
    return re.sub(r"{(\w+):\w+}", r"{\1}", path)


_ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
                "request_id": {"type": "string"},
            },
        }
    },
}

ROUTES: list[BaseRoute] = [
    ApiRoute("/openapi.json", openapi, Operation()),
    ApiRoute("/docs", page, Operation(answers={200: {"text/html": {"type": "string"}}})),
]
"""This door's."""
