"""Every connection gets an id, a line in the log, and its place in the caller's trace."""

from __future__ import annotations

import logging
import re
import secrets
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.admission import caller_of
from server.auth import PUBLIC
from server.dialects.shapes import shaped
from server.logs import REQUEST_ID, fields
from server.metrics import Metrics
from server.tracing import continue_trace
from streaming.errors import Internal

logger = logging.getLogger(__name__)

_FORM = re.compile(r"[\w.-]{1,128}", re.ASCII)
_QUIET = PUBLIC | {"/metrics"}
_PATH_CHARACTERS = 200


class RequestId:
    """Echoes a caller's ``x-request-id``, or makes one."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put the id into the request's state, the log and the response's headers."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        asked = headers.get("x-request-id", "")
        request_id = asked if _FORM.fullmatch(asked) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        REQUEST_ID.set(request_id)
        continue_trace(headers)
        began_s, told = time.monotonic(), {"status": 0}

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
                told["status"] = message["status"]
            elif message["type"] == "websocket.accept":
                told["status"] = 101
            elif message["type"] == "websocket.close":
                told["close"] = message.get("code", 1000)
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            self._tell(scope, told, time.monotonic() - began_s)

    def _tell(self, scope: Scope, told: dict[str, int], seconds: float) -> None:
        self._metrics.http.labels(told["status"]).inc()
        said: dict[str, Any] = {
            "method": scope.get("method", "WS"),
            "path": scope.get("raw_path", b"").decode("latin-1")[:_PATH_CHARACTERS],
            **told,
            "ms": round(seconds * 1000, 1),
            "key": caller_of(scope).key_id,
        }
        level = logging.DEBUG if scope["path"] in _QUIET else logging.INFO
        logger.log(level, "connection", extra=fields(**said))


class LastResort:
    """Answers 500 for what nobody caught, inside of what names, counts and labels answers."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Log a failure; raise it again where there is no way left to tell of it."""
        begun = scope["type"] != "http"

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if begun:
                raise
            request_id = scope["state"]["request_id"]
            logger.error("request %s failed", request_id, exc_info=error)
            internal = Internal("something went wrong", request_id=request_id)
            self._metrics.count(internal.code)
            await shaped(internal, scope["path"])(scope, receive, send)
