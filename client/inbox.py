"""A bounded queue between the one reader of a socket and the reader of a context."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """Items in order, at most ``max_bytes`` and one item more.

    A full inbox makes ``put`` wait, so that the socket is no longer read and the server feels it.
    After ``discard`` nothing droppable is kept and ``put`` never waits.
    """

    def __init__(self, *, max_bytes: int, droppable: Callable[[T], bool]) -> None:
        self._max_bytes = max_bytes
        self._droppable = droppable
        self._items: deque[tuple[T, int]] = deque()
        self._held_bytes = 0
        self._discarding = False
        self._changed = asyncio.Condition()

    async def put(self, item: T, size_bytes: int) -> None:
        """Add an item, after waiting for room."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: self._held_bytes < self._max_bytes or self._discarding
            )
            if self._discarding and self._droppable(item):
                return
            self._items.append((item, size_bytes))
            self._held_bytes += size_bytes
            self._changed.notify_all()

    async def put_last(self, item: T) -> None:
        """Add an item that must arrive and that nothing follows; never waits for room."""
        async with self._changed:
            self._items.append((item, 0))
            self._changed.notify_all()

    async def get(self) -> T:
        """Take the oldest item, after waiting for one."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._items))
            item, size_bytes = self._items.popleft()
            self._held_bytes -= size_bytes
            self._changed.notify_all()
            return item

    async def discard(self) -> None:
        """Drop what is droppable, now and from now on."""
        async with self._changed:
            self._discarding = True
            kept = [pair for pair in self._items if not self._droppable(pair[0])]
            self._items = deque(kept)
            self._held_bytes = sum(size for _, size in kept)
            self._changed.notify_all()
