"""Whether the engine is well: warming up, a watchdog, and probes until it speaks again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from streaming.errors import EngineFailed
from streaming.pulse import RETRY_AFTER_S, Pulse

logger = logging.getLogger(__name__)

_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)


class EngineHealth:
    """``state`` is ``warming``, ``ready``, ``engine_failed`` or ``failed``.

    ``speak_once`` speaks to nobody and raises what the engine raises. An engine that has answered
    nobody for ``stall_s`` is hung.
    """

    def __init__(
        self, *, speak_once: Callable[[], Awaitable[None]], pulse: Pulse, stall_s: float
    ) -> None:
        self.state = "warming"
        self.warmed = asyncio.Event()
        self._speak_once = speak_once
        self._pulse = pulse
        self._stall_s = stall_s
        self._hung = False
        self._working: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Warm up in the background, and watch until the block ends."""
        self._working = asyncio.create_task(self._warm(), name="warm up")
        watchdog = asyncio.create_task(self._watch(), name="watchdog")
        try:
            yield
        finally:
            watchdog.cancel()
            self._working.cancel()
            await asyncio.gather(watchdog, self._working, return_exceptions=True)

    def check(self) -> None:
        """Raise ``EngineFailed`` while the engine hangs, so that nobody waits for it."""
        if self._hung:
            raise EngineFailed("the engine is hung", retry_after_s=RETRY_AFTER_S)

    def recover(self) -> None:
        """The engine died: not ready until a probe has spoken."""
        if self.state == "ready":
            self.state = "engine_failed"
            self._working = asyncio.create_task(self._probe(), name="recover")

    async def _warm(self) -> None:
        """Speak once, so that nobody else pays for it."""
        try:
            await self._speak_once()
        except Exception:
            logger.exception("warming up failed")
            self.state = "failed"
        else:
            self.state = "ready"
        self.warmed.set()
        if self.state != "ready":
            await self._probe()

    async def _probe(self) -> None:
        for attempt in range(10_000):
            await asyncio.sleep(_PAUSES_S[min(attempt, len(_PAUSES_S) - 1)])
            try:
                await self._speak_once()
            except Exception:
                logger.warning("the engine is still down", exc_info=True)
            else:
                self.state, self._hung = "ready", False
                return

    async def _watch(self) -> None:
        """Fail everybody when the engine answers nobody any more; it may wake up later.

        Before the server is warm, nothing is known of how long a first answer takes.
        """
        while True:
            await asyncio.sleep(min(1.0, self._stall_s / 4))
            silent_s = self._pulse.silent_s
            if self.warmed.is_set() and silent_s > self._stall_s:
                logger.error("the engine has given nothing for %.1f s", silent_s)
                self._hung = True
                self._pulse.stop()
                self.recover()
