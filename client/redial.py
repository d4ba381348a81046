"""Opening another socket when one was lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from websockets.asyncio.client import ClientConnection

from client.errors import ClientError
from streaming.errors import SpeechError
from streaming.wire import SessionCreated

RESUME_S, FIRST_PAUSE_S, LONGEST_PAUSE_S = 30.0, 0.1, 2.0
"""How long a lost server is looked for when it does not say, and the pauses in between."""

Dial: TypeAlias = Callable[[], Awaitable[tuple[ClientConnection, SessionCreated]]]
"""Opens a socket and takes its greeting; raises ``ClientError`` or ``SpeechError``."""


async def redial(
    dial: Dial, session: SessionCreated
) -> tuple[ClientConnection, SessionCreated] | None:
    """Dial until somebody answers or it is too late to resume ``session``."""
    pause_s = FIRST_PAUSE_S
    give_up_s = time.monotonic() + float(session.limits.get("resume_s", RESUME_S))
    while True:
        try:
            return await dial()
        except (ClientError, SpeechError):
            if time.monotonic() + pause_s > give_up_s:
                return None
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
