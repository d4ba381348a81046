"""Short-lived tokens for browsers: ``POST /v1/tokens`` with a key gives one.

A token names its key and its end, signed with HMAC-SHA256; it cannot make another token, and ends
early when its key is removed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from server.admission import caller_of
from server.openapi import OBJECT, ApiRoute, Operation
from streaming.errors import BadConfig, Unauthorized

TTL_S, LONGEST_TTL_S = 300, 3600
"""Seconds that a token lives unless asked otherwise, and at most."""

_FORM = re.compile(r"itt_([\w.-]{1,64})_([0-9]{1,12})_([\w-]{43})", re.ASCII)


class Tokens:
    """Makes and reads tokens; without a ``secret``, those of another process are worth nothing."""

    def __init__(self, secret: str = "", *, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret.encode() or secrets.token_bytes(32)
        self._clock = clock

    def issue(self, key_id: str, ttl_s: int) -> str:
        """A token for a key."""
        body = f"itt_{key_id}_{int(self._clock()) + ttl_s}"
        return f"{body}_{self._sign(body)}"

    def key_id(self, text: str) -> str | None:
        """The key behind a token that is ours and has not ended."""
        form = _FORM.fullmatch(text)
        if form is None:
            return None
        ours = hmac.compare_digest(self._sign(text[: form.start(3) - 1]), form[3])
        return form[1] if ours and int(form[2]) > self._clock() else None

    def _sign(self, body: str) -> str:
        digest = hmac.new(self._secret, body.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


async def make_token(request: Request) -> Response:
    """``POST /v1/tokens?ttl_s=300``."""
    if request.scope["state"].get("by_token"):
        raise Unauthorized("a token cannot make another one; use the key")
    asked = request.query_params.get("ttl_s", str(TTL_S))
    if not re.fullmatch(r"[0-9]{1,5}", asked) or not 1 <= int(asked) <= LONGEST_TTL_S:
        raise BadConfig(f"ttl_s must be from 1 to {LONGEST_TTL_S}", param="ttl_s")
    tokens: Tokens = request.app.state.tokens
    token = tokens.issue(caller_of(request.scope).key_id, int(asked))
    return JSONResponse({"token": token, "expires_in": int(asked)}, 201)


_MAKE = Operation(
    query={"ttl_s": {"type": "integer", "minimum": 1, "maximum": LONGEST_TTL_S}},
    answers={201: {"application/json": OBJECT}},
    errors=("bad_config",),
)

ROUTES: list[BaseRoute] = [ApiRoute("/v1/tokens", make_token, _MAKE, method="POST")]
"""This door's."""
