"""Who may speak now: a bounded number at once, a bounded number behind them, nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.types import Scope

from streaming.errors import Draining, Overloaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whose request it is; a higher ``priority`` leaves the queue first."""

    key_id: str = "anonymous"
    priority: int = 0


ANONYMOUS = Caller()
"""Everybody, where no keys are asked for."""


def caller_of(scope: Scope) -> Caller:
    """Who the authentication in front of all routes found behind a connection."""
    caller: Caller = scope.get("state", {}).get("caller", ANONYMOUS)
    return caller


class Admission:
    """``active`` places and ``queued`` seats to wait for one, first come, first served."""

    def __init__(self, *, active: int, queued: int, retry_after_s: float) -> None:
        self._places = asyncio.Semaphore(active)
        self._seats = queued
        self._retry_after_s = retry_after_s
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = asyncio.Event()
        self.active = 0
        self.waiting = 0

    def refusal(self) -> Draining:
        """The error that tells of the shutdown."""
        return Draining("the server is shutting down", retry_after_s=self._retry_after_s)

    @asynccontextmanager
    async def place(self, caller: Caller = ANONYMOUS) -> AsyncIterator[None]:
        """Hold a place, after waiting for it if need be.

        Raises ``Draining``, and ``Overloaded`` when all seats are taken. Cancelled while waiting,
        it leaves the queue.
        """
        if self.draining.is_set():
            raise self.refusal()
        if self._places.locked() and self.waiting >= self._seats:
            raise Overloaded("all places are taken", retry_after_s=self._retry_after_s)
        self.waiting += 1
        self._idle.clear()
        try:
            await self._places.acquire()
            self.active += 1
        finally:
            self.waiting -= 1
            self._mark_idle()
        try:
            yield
        finally:
            self.active -= 1
            self._places.release()
            self._mark_idle()

    async def drain(self) -> None:
        """Admit nobody else and return when the last one has left."""
        self.draining.set()
        await self._idle.wait()

    def _mark_idle(self) -> None:
        if not self.active and not self.waiting:
            self._idle.set()
