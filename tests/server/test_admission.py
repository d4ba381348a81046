"""Places, seats, and the way out."""

from __future__ import annotations

import asyncio

import pytest

from server.admission import Admission
from streaming.errors import Draining, Overloaded


async def hold(admission: Admission, order: list[int], number: int, until: asyncio.Event) -> None:
    async with admission.place():
        order.append(number)
        await until.wait()


async def test_first_come_first_served_and_nobody_beyond_the_seats() -> None:
    admission = Admission(active=1, queued=2, retry_after_s=1.5)
    order: list[int] = []
    until = asyncio.Event()
    tasks = [asyncio.create_task(hold(admission, order, n, until)) for n in range(3)]
    await asyncio.sleep(0)
    assert (order, admission.active, admission.waiting) == ([0], 1, 2)
    with pytest.raises(Overloaded) as caught:
        async with admission.place():
            raise AssertionError("unreachable")
    assert caught.value.retry_after_s == 1.5
    tasks[1].cancel()
    await asyncio.gather(tasks[1], return_exceptions=True)
    assert admission.waiting == 1
    until.set()
    await asyncio.gather(tasks[0], tasks[2])
    assert (order, admission.active, admission.waiting) == ([0, 2], 0, 0)


async def test_draining_waits_for_those_inside() -> None:
    admission = Admission(active=1, queued=1, retry_after_s=1.0)
    order: list[int] = []
    until, later = asyncio.Event(), asyncio.Event()
    ends = (until, later)
    tasks = [asyncio.create_task(hold(admission, order, n, ends[n])) for n in range(2)]
    await asyncio.sleep(0)
    drain = asyncio.create_task(admission.drain())
    await asyncio.sleep(0)
    with pytest.raises(Draining):
        async with admission.place():
            raise AssertionError("unreachable")
    assert not drain.done()
    until.set()
    await tasks[0]
    for _ in range(5):
        await asyncio.sleep(0)
    assert (order, drain.done()) == ([0, 1], False)
    later.set()
    await asyncio.gather(*tasks, drain)
    assert order == [0, 1]


async def test_an_empty_room_drains_at_once() -> None:
    await Admission(active=1, queued=0, retry_after_s=1.0).drain()
