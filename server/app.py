"""The Starlette application: the routes of all doors, request ids, errors."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server import http, operations, voices_api, websocket
from server.config import Settings
from server.http import error_response
from server.service import SynthesisService
from streaming.errors import Internal, SpeechError

logger = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[\w.-]{1,128}", re.ASCII)


def create_app(service: SynthesisService[Any], settings: Settings) -> Starlette:
    """The application; its lifespan starts and stops ``service``."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = Starlette(
        routes=[*websocket.ROUTES, *http.ROUTES, *voices_api.ROUTES, *operations.ROUTES],
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
