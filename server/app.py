"""The Starlette application: the routes of all doors, request ids, errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server import http, models_api, openapi, operations, tokens, voices_api, websocket
from server.access import LastResort, RequestId
from server.auth import KEY_HEADERS, Authentication, Doorman, plain_origin
from server.config import Settings
from server.dialects import deepgram, elevenlabs, seeds
from server.dialects.elevenlabs_key import KNOCKERS
from server.dialects.shapes import shaped
from server.keys import Allowance, KeyRing
from server.resume import ResumeTokens
from server.service import SynthesisService
from server.tokens import Tokens
from streaming.errors import SpeechError

DOORS = (
    websocket,
    http,
    models_api,
    voices_api,
    elevenlabs,
    deepgram,
    seeds,
    tokens,
    operations,
    openapi,
)
"""Modules whose ``ROUTES`` this server answers, in the order they are tried."""


_ASKING_HEADERS = ("authorization", "content-type", "x-request-id", *KEY_HEADERS)


def create_app(service: SynthesisService[Any], settings: Settings) -> Starlette:
    """The application; its lifespan starts and stops ``service``. Raises ``BadKeys``."""
    doorman = make_doorman(settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = Starlette(
        routes=[route for door in DOORS for route in door.ROUTES],
        middleware=_middleware(service, settings, doorman),
        exception_handlers={
            SpeechError: _speech_error,
            HTTPException: _http_error,
        },
        lifespan=lifespan,
    )
    app.state.service = service
    app.state.resume_tokens = ResumeTokens[websocket.Connection]()
    app.state.settings = settings
    app.state.check_caller = doorman.check
    app.state.tokens = doorman.tokens
    app.state.pages = openapi.Pages(app.routes)
    app.state.knocking = asyncio.Semaphore(KNOCKERS)
    app.state.created_s = int(time.time())
    return app


def make_doorman(settings: Settings) -> Doorman:
    """Who decides whose a connection is; raises ``BadKeys`` for a bad file of keys."""
    return Doorman(
        ring=None if settings.keys is None else KeyRing(settings.keys),
        tokens=Tokens(settings.token_secret),
        origins=settings.origins,
        allowance=Allowance(
            concurrent=settings.key_concurrent,
            requests_per_minute=settings.key_requests_per_minute,
            characters_per_minute=settings.key_characters_per_minute,
        ),
    )


def _middleware(service: SynthesisService[Any], settings: Settings, doorman: Doorman) -> list[Any]:
    """From the outside in; pages of other origins get CORS headers only where some are listed."""
    layers = [Middleware(RequestId, metrics=service.metrics)]
    if settings.origins:
        layers.append(
            Middleware(
                CORSMiddleware,
                allow_origins=tuple(map(plain_origin, settings.origins)),
                allow_methods=("GET", "POST", "DELETE"),
                allow_headers=_ASKING_HEADERS,
                expose_headers=("x-request-id", "x-sample-rate", "retry-after"),
            )
        )
    layers.append(Middleware(LastResort, metrics=service.metrics))
    return [*layers, Middleware(Authentication, doorman=doorman, metrics=service.metrics)]


async def _speech_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SpeechError)
    error.request_id = error.request_id or request.state.request_id
    service: SynthesisService[Any] = request.app.state.service
    service.metrics.count(error.code)
    return shaped(error, request.url.path)


async def _http_error(request: Request, error: Exception) -> Response:
    """Routing errors (no such route, wrong method) in OpenAI's form."""
    assert isinstance(error, HTTPException)
    if request.method == "OPTIONS" and error.status_code == 405:
        return Response(status_code=204, headers={"Allow": _methods(request)})
    body = {
        "message": error.detail,
        "type": "invalid_request_error",
        "param": None,
        "code": "not_found" if error.status_code == 404 else "method_not_allowed",
        "request_id": request.state.request_id,
    }
    return JSONResponse({"error": body}, error.status_code, error.headers)


def _methods(request: Request) -> str:
    """What may be asked of a path, by all of its routes."""
    found = {"OPTIONS"}
    for route in request.app.routes:
        if isinstance(route, Route) and route.path_regex.match(request.url.path):
            found |= route.methods or set()
    return ", ".join(sorted(found))
