"""Whether a model still gives anything to anybody, and the way out when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from streaming.errors import EngineFailed

RETRY_AFTER_S = 10.0


class Pulse:
    """Shared by all contexts of a pipeline; use it as a context manager around each wait.

    A slow model under load still beats: any answer to anybody counts.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._asking = 0
        self._beat_s = clock()
        self._scopes: set[asyncio.Timeout] = set()

    @property
    def silent_s(self) -> float:
        """Seconds for which somebody has waited and nobody was answered."""
        return self._clock() - self._beat_s if self._asking else 0.0

    def __enter__(self) -> None:
        if not self._asking:
            self._beat_s = self._clock()
        self._asking += 1

    def __exit__(self, *_: object) -> None:
        self._asking -= 1
        self._beat_s = self._clock()

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """A block that ``stop`` ends; raises ``EngineFailed`` then."""
        try:
            async with asyncio.timeout(None) as scope:
                self._scopes.add(scope)
                try:
                    yield
                finally:
                    self._scopes.discard(scope)
        except TimeoutError as error:
            raise EngineFailed("the engine is hung", retry_after_s=RETRY_AFTER_S) from error

    def stop(self) -> None:
        """End every watched block: what the model still does for them is its own affair."""
        for scope in tuple(self._scopes):
            if not scope.expired():
                scope.reschedule(0.0)
