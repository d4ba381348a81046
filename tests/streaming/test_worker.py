"""Order, cancellation, errors and the end of the device worker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from streaming.errors import EngineFailed, Overloaded
from streaming.speech import Brake, Urgency
from streaming.worker import DeviceWorker


class Gate:
    """A work item that holds the worker until it is opened."""

    def __init__(self, worker: DeviceWorker) -> None:
        self._open = threading.Event()
        self._begun = threading.Event()
        self.task = asyncio.ensure_future(worker.run(self._work, Urgency(), name="gate"))

    def _work(self) -> None:
        self._begun.set()
        assert self._open.wait(5)

    async def closed(self) -> None:
        while not self._begun.is_set():  # noqa: ASYNC110 - set by a thread
            await asyncio.sleep(0.001)

    async def open(self) -> None:
        self._open.set()
        await self.task


@pytest.fixture
async def worker() -> AsyncIterator[DeviceWorker]:
    async with DeviceWorker(max_waiting=8) as worker:
        yield worker


async def waiting(worker: DeviceWorker, count: int) -> None:
    async with asyncio.timeout(5):
        while worker.waiting != count:  # noqa: ASYNC110 - changes in a thread
            await asyncio.sleep(0.001)


def queue(worker: DeviceWorker, ran: list[str], name: str, urgency: Urgency) -> asyncio.Task[None]:
    work: Callable[[], None] = lambda: ran.append(name)  # noqa: E731
    return asyncio.ensure_future(worker.run(work, urgency, name=name))


async def test_results_and_exceptions_come_back(worker: DeviceWorker) -> None:
    def fail() -> int:
        raise KeyError("missing")

    thread = await worker.run(threading.get_ident, Urgency(), name="ok")
    assert thread != threading.get_ident()
    assert await worker.run(threading.get_ident, Urgency(), name="ok") == thread
    with pytest.raises(KeyError, match="missing"):
        await worker.run(fail, Urgency(), name="fail")
    with pytest.raises(RuntimeError, match="StopIteration"):
        await worker.run(lambda: next(iter(())), Urgency(), name="stop")
    assert worker.begun == {"ok": 2, "fail": 1, "stop": 1}
    assert worker.busy_s["ok"] >= 0


async def test_first_chunks_then_the_smallest_lead_then_the_oldest(worker: DeviceWorker) -> None:
    gate = Gate(worker)
    await gate.closed()
    ran: list[str] = []
    tasks = [
        queue(worker, ran, "rich", Urgency(lead_s=lambda: 9.0)),
        queue(worker, ran, "poor", Urgency(lead_s=lambda: 1.0)),
        queue(worker, ran, "poor too", Urgency(lead_s=lambda: 1.0)),
        queue(worker, ran, "first", Urgency(first=True)),
    ]
    await waiting(worker, 4)
    await gate.open()
    await asyncio.gather(*tasks)
    assert ran == ["first", "poor", "poor too", "rich"]


async def test_urgency_is_read_when_picking(worker: DeviceWorker) -> None:
    gate = Gate(worker)
    await gate.closed()
    ran: list[str] = []
    leads = {"a": 1.0, "b": 2.0}
    tasks = [
        queue(worker, ran, name, Urgency(lead_s=lambda name=name: leads[name]))  # type: ignore[misc]
        for name in leads
    ]
    await waiting(worker, 2)
    leads["b"] = 0.5
    await gate.open()
    await asyncio.gather(*tasks)
    assert ran == ["b", "a"]


async def test_a_cancelled_caller_drops_its_item(worker: DeviceWorker) -> None:
    gate = Gate(worker)
    await gate.closed()
    ran: list[str] = []
    dropped = queue(worker, ran, "dropped", Urgency())
    kept = queue(worker, ran, "kept", Urgency())
    await waiting(worker, 2)
    dropped.cancel()
    await asyncio.wait([dropped])
    assert worker.waiting == 1
    await gate.open()
    await kept
    assert ran == ["kept"]
    assert worker.begun == {"gate": 1, "kept": 1}


async def test_a_cancelled_urgency_never_begins(worker: DeviceWorker) -> None:
    gate = Gate(worker)
    await gate.closed()
    ran: list[str] = []
    brake = Brake()
    urgency = Urgency(brake=brake)
    dropped = queue(worker, ran, "dropped", urgency)
    await waiting(worker, 1)
    brake.pull()
    await gate.open()
    await asyncio.wait([dropped])
    assert dropped.cancelled()
    late = queue(worker, ran, "late", urgency)
    await asyncio.wait([late])
    assert late.cancelled()
    assert ran == []


async def test_cancelling_a_begun_item_drops_its_result(worker: DeviceWorker) -> None:
    gate = Gate(worker)
    await gate.closed()
    gate.task.cancel()
    await asyncio.wait([gate.task])
    assert gate.task.cancelled()
    gate._open.set()
    assert await worker.run(lambda: 5, Urgency()) == 5


async def test_too_many_waiting_items_are_refused(worker: DeviceWorker) -> None:
    gate = Gate(worker)
    await gate.closed()
    ran: list[str] = []
    tasks = [queue(worker, ran, str(nth), Urgency()) for nth in range(8)]
    await waiting(worker, 8)
    with pytest.raises(Overloaded) as caught:
        await worker.run(lambda: None, Urgency())
    assert caught.value.retry_after_s
    await gate.open()
    await asyncio.gather(*tasks)
    assert await worker.run(lambda: 1, Urgency()) == 1


async def test_closing_finishes_what_began_and_fails_the_rest() -> None:
    worker = DeviceWorker()
    worker.start()
    gate = Gate(worker)
    await gate.closed()
    ran: list[str] = []
    task = queue(worker, ran, "rest", Urgency())
    await waiting(worker, 1)
    closing = asyncio.ensure_future(worker.close())
    with pytest.raises(EngineFailed):
        await task
    assert not closing.done()
    await gate.open()
    await closing
    assert ran == []
    with pytest.raises(EngineFailed):
        await worker.run(lambda: None, Urgency())
    await worker.close()


async def test_an_urgency_that_fails_does_not_stop_the_worker(worker: DeviceWorker) -> None:
    def broken() -> float:
        raise ZeroDivisionError

    ran: list[str] = []
    with pytest.raises(ZeroDivisionError):
        await queue(worker, ran, "broken", Urgency(lead_s=broken))
    await queue(worker, ran, "next", Urgency())
    assert ran == ["next"]


def test_a_loop_that_closes_first_does_no_harm() -> None:
    worker = DeviceWorker()
    worker.start()
    opened = threading.Event()
    begun = threading.Event()

    def work() -> None:
        begun.set()
        opened.wait(5)

    async def leave() -> None:
        task = asyncio.ensure_future(worker.run(work, Urgency(), name="left"))
        while not begun.is_set():  # noqa: ASYNC110 - set by a thread
            await asyncio.sleep(0.001)
        task.cancel()

    asyncio.run(leave())
    opened.set()

    async def again() -> int:
        async with asyncio.timeout(5):
            value = await worker.run(lambda: 3, Urgency())
        await worker.close()
        return value

    assert asyncio.run(again()) == 3
