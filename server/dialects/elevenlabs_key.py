"""ElevenLabs' clients may bring their key in the first message instead of a header."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any

from starlette.types import Message
from starlette.websockets import WebSocket

from server.auth import KNOCK
from streaming.errors import BadMessage, Overloaded, Unauthorized
from streaming.wire import parse_json

KEY_FIELDS = ("xi_api_key", "xi-api-key", "authorization")
"""Where the first message may have it."""

KNOCKERS = 32
"""Sockets that may wait for their first message at once; they are no sessions yet, so that whoever
has no key keeps nobody out who shows one in a header.
"""

_WAIT_S = 5.0


async def unlock(websocket: WebSocket) -> WebSocket:
    """A socket whose caller is known; it is accepted, and its first message is still to come.

    Raises ``Unauthorized`` and ``Overloaded`` for one that is accepted already.
    """
    knock = websocket.scope["state"].pop(KNOCK)
    await websocket.accept()
    knocking: asyncio.Semaphore = websocket.app.state.knocking
    if knocking.locked():
        raise Overloaded("too many wait without a key", retry_after_s=_WAIT_S)
    try:
        async with knocking, asyncio.timeout(_WAIT_S):
            first = await websocket.receive()
    except TimeoutError:
        raise Unauthorized(f"no key came within {_WAIT_S:g} s") from None
    known = knock(_key_in(first))
    if known is None:
        raise Unauthorized("a valid API key is needed, as xi_api_key or in a header")
    state = websocket.scope["state"]
    state["caller"], state["by_token"] = known
    return _replayed(websocket, first)


def _key_in(message: Message) -> str:
    try:
        raw: Mapping[str, Any] = parse_json(message.get("text") or "")
    except BadMessage:
        return ""
    shown = next((raw[name] for name in KEY_FIELDS if isinstance(raw.get(name), str)), "")
    return shown.removeprefix("Bearer ").strip()


def _replayed(websocket: WebSocket, first: Message) -> WebSocket:
    """The same socket as it was before it was accepted and its first message was read."""
    before = deque[Message]([{"type": "websocket.connect"}, first])

    async def receive() -> Message:
        return before.popleft() if before else await websocket.receive()

    async def send(message: Message) -> None:
        if message["type"] != "websocket.accept":
            await websocket.send(message)

    return WebSocket(websocket.scope, receive, send)
