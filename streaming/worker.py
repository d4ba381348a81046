"""The one thread that owns the accelerator and picks the most urgent work item next."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from streaming.errors import EngineFailed, Overloaded
from streaming.speech import Urgency

T = TypeVar("T")

_LONGEST_ITEM_S = 5.0
"""How long closing waits for the item that has begun."""


class _Item:
    """A work item and the future that waits for it."""

    __slots__ = ("future", "loop", "name", "urgency", "work")

    def __init__(self, work: Callable[[], Any], urgency: Urgency, name: str) -> None:
        self.work = work
        self.urgency = urgency
        self.name = name
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()

    def settle(self, result: Any, error: BaseException | None) -> None:
        """Hand over the outcome from any thread; nobody is left to tell once the loop is closed."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: Any, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        elif isinstance(error, asyncio.CancelledError):
            self.future.cancel()
        else:
            self.future.set_exception(error)


class DeviceWorker:
    """Implements ``streaming.speech.Worker`` with one thread; use it as a context manager.

    Equal urgencies run in the order they came. ``begun`` counts the items that began and
    ``busy_s`` sums their seconds, by name.
    """

    def __init__(self, *, max_waiting: int = 1024, name: str = "device-worker") -> None:
        self.begun: Counter[str] = Counter()
        self.busy_s: defaultdict[str, float] = defaultdict(float)
        self._max_waiting = max_waiting
        self._items: list[_Item] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    @property
    def waiting(self) -> int:
        """Items that have not begun."""
        return len(self._items)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    async def close(self) -> None:
        """Finish the item that has begun; those waiting fail with ``EngineFailed``.

        An item that does not end is left behind with its thread, which holds up no exit.
        """
        with self._changed:
            self._closed = True
            dropped, self._items = self._items, []
            self._changed.notify()
        for item in dropped:
            item.settle(None, EngineFailed("The device worker was closed."))
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join, _LONGEST_ITEM_S)

    async def __aenter__(self) -> DeviceWorker:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def run(self, work: Callable[[], T], urgency: Urgency, *, name: str = "") -> T:
        """Run ``work()`` on the thread and give back its result, or raise what it raised.

        Cancelling drops an item that has not begun; so does ``urgency.cancelled``, which cancels
        the caller. Raises ``EngineFailed`` when closed and ``Overloaded`` when too many wait.
        """
        item = _Item(work, urgency, name)
        with self._changed:
            if self._closed:
                raise EngineFailed("The device worker is closed.")
            if len(self._items) >= self._max_waiting:
                raise Overloaded("Too much work is waiting for the device.", retry_after_s=1.0)
            self._items.append(item)
            self._changed.notify()
        try:
            result: T = await item.future
        except asyncio.CancelledError:
            with self._changed, contextlib.suppress(ValueError):
                self._items.remove(item)
            raise
        return result

    def _serve(self) -> None:
        while (item := self._next()) is not None:
            began_s = time.monotonic()
            result: Any = None
            error: BaseException | None = None
            try:
                result = item.work()
            except StopIteration as stop:
                error = RuntimeError("work raised StopIteration, which no future can carry")
                error.__cause__ = stop
            except BaseException as raised:
                error = raised
            self.busy_s[item.name] += time.monotonic() - began_s
            item.settle(result, error)
            del item, result, error

    def _next(self) -> _Item | None:
        with self._changed:
            while not self._closed:
                if item := self._most_urgent():
                    self._items.remove(item)
                    self.begun[item.name] += 1
                    return item
                self._changed.wait()
        return None

    def _most_urgent(self) -> _Item | None:
        """The item to begin next; drops the cancelled ones and any whose urgency fails."""
        keys: list[tuple[tuple[int, float], int]] = []
        kept: list[_Item] = []
        for item in self._items:
            try:
                if item.urgency.cancelled:
                    raise asyncio.CancelledError
                keys.append((item.urgency.key(), len(kept)))
                kept.append(item)
            except BaseException as error:
                item.settle(None, error)
        self._items = kept
        return kept[min(keys)[1]] if kept else None
