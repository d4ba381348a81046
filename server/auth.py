"""Who may come in: one ASGI middleware in front of all routes, HTTP and WebSocket alike.

A key comes as ``Authorization: Bearer``, ``Token`` or in ``X-API-Key`` and ``xi-api-key``; where a
browser cannot send headers, in a WebSocket subprotocol. A short-lived token goes wherever a key
does, and in ``?token=``.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from server.admission import ANONYMOUS, Caller
from server.dialects.shapes import is_foreign, shaped
from server.errors import close_code, error_body
from server.keys import Allowance, Key, KeyRing
from server.metrics import Metrics
from server.tokens import Tokens
from streaming.errors import AccessError, ForbiddenOrigin, SpeechError, Unauthorized

PUBLIC = frozenset(
    {
        "/healthz",
        "/readyz",
        "/v1/",
        "/health",
        "/index-tts/v1/health",
        "/docs",
        "/openapi.json",
    }
)
"""Paths that ask for no key: they tell nothing and start nothing."""

KNOCK = "knock"
"""Where the state of a connection holds ``Doorman.known`` while its caller is not known yet."""

_KEY_LATER = re.compile(r"/v1/text-to-speech/[^/]+/(multi-)?stream-input")
"""Sockets of ElevenLabs' clients, which may bring the key in their first message."""

_SCHEMES = ("bearer", "token")
KEY_HEADERS = ("x-api-key", "xi-api-key")
"""Headers that hold a key and nothing else."""

_KEY_SUBPROTOCOL = "indextts-key."
_KEY_SUBPROTOCOLS = (_KEY_SUBPROTOCOL, "openai-insecure-api-key.")


def plain_origin(origin: str) -> str:
    """An origin of the operator's list as browsers send it."""
    return origin.rstrip("/").lower()


class Doorman:
    """Decides who a connection belongs to; without a ring of keys, everybody is anonymous.

    ``allowance`` is what a key may use that does not say otherwise.
    """

    def __init__(
        self,
        *,
        ring: KeyRing | None = None,
        tokens: Tokens | None = None,
        origins: Sequence[str] = (),
        allowance: Allowance | None = None,
    ) -> None:
        self._ring = ring
        self.tokens = tokens or Tokens()
        self._origins = frozenset(map(plain_origin, origins))
        self._allowance = allowance or Allowance()

    def admit(self, scope: Scope) -> tuple[Caller, bool]:
        """The caller, and whether a token brought them; raises ``AccessError``."""
        if scope["path"] in PUBLIC and scope["type"] == "http":
            return ANONYMOUS, False
        headers = Headers(scope=scope)
        self._check_origin(headers)
        if self._ring is None:
            return ANONYMOUS, False
        for shown in _shown(headers, scope):
            if (known := self.known(shown)) is not None:
                return known
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        if (key := self._key_of_token(self._ring, query.get("token", [""])[0])) is not None:
            return self._caller(key), True
        raise Unauthorized("a valid API key is needed, as `Authorization: Bearer KEY`")

    def check(self, caller: Caller) -> None:
        """Raise ``Unauthorized`` for a caller whose key was removed."""
        if self._ring is not None and self._ring.by_id(caller.key_id) is None:
            raise Unauthorized("this API key is no longer valid")

    def known(self, shown: str) -> tuple[Caller, bool] | None:
        """Whose key or token this is, and whether it is a token."""
        if self._ring is None:
            return ANONYMOUS, False
        if (key := self._ring.find(shown)) is not None:
            return self._caller(key), False
        key = self._key_of_token(self._ring, shown)
        return None if key is None else (self._caller(key), True)

    def _key_of_token(self, ring: KeyRing, text: str) -> Key | None:
        key_id = self.tokens.key_id(text)
        return None if key_id is None else ring.by_id(key_id)

    def _caller(self, key: Key) -> Caller:
        own, usual = key.allowance, self._allowance
        return Caller(
            key_id=key.id,
            priority=key.priority,
            concurrent=own.concurrent or usual.concurrent,
            requests_per_minute=own.requests_per_minute or usual.requests_per_minute,
            characters_per_minute=own.characters_per_minute or usual.characters_per_minute,
        )

    def _check_origin(self, headers: Headers) -> None:
        """Only browsers send an origin: it must be on the list, or a page of this very server.

        Without keys a name is not trusted to be this server's, since any name can be made to
        resolve here (DNS rebinding): then only addresses and localhost count.
        """
        origin = headers.get("origin", "").lower()
        if not origin or origin in self._origins or "*" in self._origins:
            return
        place = origin.partition("://")[2]
        own = bool(place) and place == headers.get("host", "").lower()
        if not own or (self._ring is None and not _is_address(origin)):
            raise ForbiddenOrigin("this origin is not on the server's list")


class Authentication:
    """The middleware: leaves the caller in the scope's state, or refuses with a typed error."""

    def __init__(self, app: ASGIApp, doorman: Doorman, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._doorman = doorman

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the caller through to the routes, or tell why not."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            caller, by_token = self._doorman.admit(scope)
        except AccessError as error:
            if isinstance(error, Unauthorized) and _brings_key_later(scope):
                scope.setdefault("state", {})[KNOCK] = self._doorman.known
                await self._app(scope, receive, _choosing_subprotocol(scope, send))
                return
            self._metrics.count(error.code)
            await refuse(error, scope, receive, _choosing_subprotocol(scope, send))
            return
        state: dict[str, Any] = scope.setdefault("state", {})
        state["caller"], state["by_token"] = caller, by_token
        await self._app(scope, receive, _choosing_subprotocol(scope, send))


async def refuse(error: SpeechError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a connection with an error and nothing else.

    A WebSocket is accepted first, since a browser learns nothing of one that is not; programs that
    came for another service look at the handshake.
    """
    error.request_id = error.request_id or scope.get("state", {}).get("request_id")
    if scope["type"] == "http":
        await shaped(error, scope["path"])(scope, receive, send)
        return
    if is_foreign(scope["path"]):
        refusal = shaped(error, scope["path"])
        await WebSocket(scope, receive, send).send_denial_response(refusal)
        return
    await receive()
    await send({"type": "websocket.accept"})
    told = json.dumps({**error_body(error), "type": "error"})
    await send({"type": "websocket.send", "text": told})
    code = close_code(error.code)
    await send({"type": "websocket.close", "code": code, "reason": error.message})


def _brings_key_later(scope: Scope) -> bool:
    return scope["type"] == "websocket" and _KEY_LATER.fullmatch(scope["path"]) is not None


def _shown(headers: Headers, scope: Scope) -> Iterator[str]:
    """Everything in a request that could be a key, in the order it is looked at."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() in _SCHEMES:
        yield credentials.strip()
    for name in KEY_HEADERS:
        if name in headers:
            yield headers[name]
    for offered in scope.get("subprotocols", ()):
        prefix = next((one for one in _KEY_SUBPROTOCOLS if offered.startswith(one)), "")
        yield offered.removeprefix(prefix)


def _choosing_subprotocol(scope: Scope, send: Send) -> Send:
    """A browser that offers subprotocols fails unless one is chosen; it is not the secret's."""
    offered = scope.get("subprotocols", ())
    if not offered:
        return send
    plain = [one for one in offered if not one.startswith((*_KEY_SUBPROTOCOLS, "itk_", "itt_"))]

    async def choosing(message: Message) -> None:
        if message["type"] == "websocket.accept" and not message.get("subprotocol"):
            message = {**message, "subprotocol": (plain or offered)[0]}
        await send(message)

    return choosing


def _is_address(origin: str) -> bool:
    try:
        host = urlsplit(origin).hostname or ""
        return host == "localhost" or bool(ipaddress.ip_address(host))
    except ValueError:
        return False
