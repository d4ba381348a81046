"""The Starlette application: routes, request ids, errors."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server import encoding, websocket
from server.config import Settings
from server.http import error_response, speech
from server.service import SynthesisService
from streaming.errors import Internal, SpeechError
from streaming.fields import SAMPLE_RATES_HZ
from streaming.request import EMOTIONS

logger = logging.getLogger(__name__)

OWNER = "indextts-stream"

_REQUEST_ID = re.compile(r"[\w.-]{1,128}", re.ASCII)


def create_app(service: SynthesisService[Any], settings: Settings) -> Starlette:
    """The application; its lifespan starts and stops ``service``."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = Starlette(
        routes=[
            WebSocketRoute("/v1/audio/speech/stream", websocket.speech_stream),
            Route("/v1/audio/speech", speech, methods=["POST"]),
            Route("/v1/audio/voices", voices),
            Route("/v1/audio/models", models),
            Route("/v1/models", models),
            Route("/v1/capabilities", capabilities),
            Route("/v1/", hello),
            Route("/healthz", hello),
            Route("/readyz", ready),
        ],
        middleware=[Middleware(RequestId)],
        exception_handlers={
            SpeechError: _speech_error,
            HTTPException: _http_error,
            Exception: _unexpected,
        },
        lifespan=lifespan,
    )
    app.state.service = service
    app.state.settings = settings
    app.state.created_s = int(time.time())
    return app


async def voices(request: Request) -> Response:
    """``GET /v1/audio/voices``."""
    catalog = _service(request).catalog
    listed = [
        {
            "id": speaker.name,
            "name": speaker.name,
            "description": speaker.description,
            "language": speaker.language,
            "aliases": list(speaker.aliases),
            "default": speaker is catalog.default,
            **({"unavailable": speaker.unavailable} if speaker.unavailable else {}),
            **({"warnings": list(speaker.warnings)} if speaker.warnings else {}),
        }
        for speaker in catalog.speakers
    ]
    return JSONResponse({"voices": listed}, headers={"ETag": f'"{catalog.etag}"'})


async def models(request: Request) -> Response:
    """``GET /v1/models``, as OpenAI lists them."""
    model = {
        "id": _service(request).info.name,
        "object": "model",
        "created": request.app.state.created_s,
        "owned_by": OWNER,
    }
    return JSONResponse({"object": "list", "data": [model]})


async def capabilities(request: Request) -> Response:
    """``GET /v1/capabilities``: what can be asked for, and the published limits."""
    service = _service(request)
    info = service.info
    return JSONResponse(
        {
            "model": info.name,
            "version": info.version,
            "sample_rate": info.sample_rate_hz,
            "sample_rates": list(SAMPLE_RATES_HZ),
            "languages": list(info.languages),
            "formats": {"http": list(encoding.FORMATS), "websocket": list(websocket.FORMATS)},
            "emotions": list(EMOTIONS),
            "timestamps": False,
            "resume": False,
            "chunk_tokens": {
                "first": info.first_chunk_tokens,
                "default": info.max_chunk_tokens,
                "limit": info.limit_tokens,
            },
            "limits": asdict(service.settings.limits),
            "voices_etag": service.catalog.etag,
        }
    )


async def hello(_: Request) -> Response:
    """The process is alive; nothing else is promised."""
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> Response:
    """``GET /readyz``: 200 when warm and not draining."""
    state = _service(request).state
    return JSONResponse({"status": state}, 200 if state == "ready" else 503)


class RequestId:
    """Echoes a caller's ``x-request-id``, or makes one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put the id into the request's state and the response's headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        request_id = asked if _REQUEST_ID.fullmatch(asked) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)


def _service(request: Request) -> SynthesisService[Any]:
    service: SynthesisService[Any] = request.app.state.service
    return service


def _speech_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SpeechError)
    error.request_id = error.request_id or request.state.request_id
    return error_response(error)


def _http_error(request: Request, error: Exception) -> Response:
    """Routing errors (no such route, wrong method) in OpenAI's form."""
    assert isinstance(error, HTTPException)
    body = {
        "message": error.detail,
        "type": "invalid_request_error",
        "param": None,
        "code": "not_found" if error.status_code == 404 else "method_not_allowed",
        "request_id": request.state.request_id,
    }
    return JSONResponse({"error": body}, error.status_code, error.headers)


def _unexpected(request: Request, error: Exception) -> Response:
    request_id = request.state.request_id
    logger.error("request %s failed: %s", request_id, type(error).__name__)
    return error_response(Internal("something went wrong", request_id=request_id))
