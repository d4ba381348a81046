"""Going on where a connection was lost: who may, and where the connection waits meanwhile."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from starlette.websockets import WebSocket

from server.line import Gone, Line
from streaming.replay import Replay
from streaming.session import Limits

_LET_GO_S, _HAND_OVER_S = 2.0, 5.0
"""How long it takes at most to drop a socket, and to hand another one over."""

OwnerT = TypeVar("OwnerT")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim(Generic[OwnerT]):
    key_id: str
    owner: OwnerT


class ResumeTokens(Generic[OwnerT]):
    """Which connection a token stands for, and with which key it was opened."""

    def __init__(self) -> None:
        self._claims: dict[str, _Claim[OwnerT]] = {}

    def __len__(self) -> int:
        return len(self._claims)

    @staticmethod
    def new() -> str:
        """A token that nobody guesses: 192 random bits."""
        return secrets.token_urlsafe(24)

    def offer(self, token: str, *, key_id: str, owner: OwnerT) -> None:
        """Let ``token`` stand for a connection."""
        self._claims[token] = _Claim(key_id=key_id, owner=owner)

    def take(self, token: str, *, key_id: str) -> OwnerT | None:
        """The connection of a token, which is used up; ``None`` unless the key is the same."""
        claim = self._claims.get(token)
        if claim is None or claim.key_id != key_id:
            return None
        del self._claims[token]
        return claim.owner

    def withdraw(self, token: str) -> None:
        """The connection is over."""
        self._claims.pop(token, None)


class Parking:
    """Where a connection waits that lost its socket; its speech goes into ``replay`` meanwhile."""

    def __init__(self, line: Line, limits: Limits) -> None:
        self.replay = Replay(most_bytes=limits.replay_bytes)
        self.over = False
        self._line = line
        self._limits = limits
        self._parked = asyncio.Event()
        self._left = asyncio.Event()
        self._patience: asyncio.Timeout | None = None

    async def wait(self) -> None:
        """Return when another socket has come; raises ``Gone`` when none does.

        What is not sent may take half of the replay: the other half is what was sent and lost.
        """
        before = self.replay.total_bytes
        room = self._limits.replay_bytes // 2
        self._line.has_room = lambda: self.replay.total_bytes - before < room
        self._line.park()
        self._left.set()
        self._parked.set()
        try:
            async with asyncio.timeout(self._limits.resume_s) as self._patience:
                await self._line.attached()
        except TimeoutError:
            raise Gone from None
        finally:
            self._parked.clear()

    async def let_go(self) -> bool:
        """Drop the socket, if there is one still; whether another one can take its place."""
        if not self._parked.is_set():
            self._line.hang_up()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._parked.wait(), _LET_GO_S)
        patience = self._patience
        if not self._parked.is_set() or patience is None or patience.expired():
            return False
        patience.reschedule(asyncio.get_running_loop().time() + _HAND_OVER_S)
        return True

    def attach(self, websocket: WebSocket) -> bool:
        """Go on with another socket; not when waiting for it has ended."""
        if not self._parked.is_set():
            return False
        self._left.clear()
        self._line.attach(websocket)
        return True

    async def left(self) -> None:
        """Return when the socket of ``attach`` is no longer used."""
        await self._left.wait()

    def end(self) -> None:
        """The connection is over."""
        self.over = True
        self._left.set()
