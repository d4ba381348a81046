"""A text holds a place while it has something to say, and only then."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest

from server.admission import ANONYMOUS, Admission, Caller
from server.floor import Floor
from streaming.errors import Draining, Overloaded


def hall(active: int = 1, queued: int = 1) -> Admission:
    return Admission(active=active, queued=queued, retry_after_s=1.0)


async def test_the_place_is_given_back_a_little_after_the_last_word() -> None:
    admission = hall()
    with closing(Floor(admission, ANONYMOUS, linger_s=0.02)) as floor:
        assert admission.active == 0
        await floor.ask().ready()
        floor.leave()
        await floor.take()
        await asyncio.sleep(0.04)
        assert admission.active == 1, "it had something to say again"
        floor.leave()
        assert admission.active == 1
        await asyncio.sleep(0.04)
        assert admission.active == 0
        await floor.take()
        assert admission.active == 1
    assert admission.active == 0


async def test_closing_gives_back_a_place_that_lingers() -> None:
    admission = hall()
    floor = Floor(admission, ANONYMOUS)
    await floor.take()
    floor.leave()
    floor.close()
    assert admission.active == 0
    floor.close()


async def test_who_goes_on_waits_however_many_wait_but_is_not_turned_away() -> None:
    admission = hall(active=1, queued=0)
    with closing(Floor(admission, ANONYMOUS, linger_s=0.0)) as floor:
        await floor.take()
        floor.leave()
        await asyncio.sleep(0.01)
        other = admission.take(ANONYMOUS)
        with pytest.raises(Overloaded):
            admission.take(ANONYMOUS)
        again = asyncio.ensure_future(floor.take())
        await asyncio.sleep(0)
        assert (admission.active, admission.waiting) == (1, 1)
        admission.leave(other)
        await again
        assert (admission.active, admission.waiting) == (1, 0)


async def test_going_on_is_no_new_request() -> None:
    admission = hall(active=4)
    caller = Caller(key_id="k", requests_per_minute=1)
    with closing(Floor(admission, caller, linger_s=0.0)) as floor:
        await floor.ask().ready()
        floor.leave()
        await asyncio.sleep(0.01)
        await floor.take()
        assert admission.active == 1


async def test_draining_turns_newcomers_away_and_lets_others_finish() -> None:
    admission = hall()
    with closing(Floor(admission, ANONYMOUS)) as early:
        admission.draining.set()
        with pytest.raises(Draining):
            Floor(admission, ANONYMOUS)
        await early.ask().ready()
        assert admission.active == 1


async def test_draining_waits_for_texts_that_hold_no_place() -> None:
    admission = hall()
    floor = Floor(admission, ANONYMOUS)
    draining = asyncio.ensure_future(admission.drain())
    await asyncio.sleep(0.01)
    assert not draining.done()
    floor.close()
    await draining


async def test_a_place_taken_beforehand_stays_with_its_taker() -> None:
    admission = hall()
    place = admission.take(ANONYMOUS)
    with closing(Floor(admission, place, linger_s=0.0)) as floor:
        assert floor.ask() is place
        await floor.take()
        floor.leave()
        await asyncio.sleep(0.01)
    assert admission.active == 1
    admission.leave(place)
    assert admission.active == 0


async def test_a_seat_that_is_given_up_is_free() -> None:
    admission = hall(active=1, queued=1)
    held = admission.take(ANONYMOUS)
    floor = Floor(admission, ANONYMOUS)
    assert floor.ask().waits
    floor.close()
    assert admission.waiting == 0
    admission.leave(held)


async def test_the_seat_of_who_goes_on_is_not_taken_away() -> None:
    admission = hall(active=1, queued=2)
    held = admission.take(ANONYMOUS)
    again = [admission.take(Caller(key_id="many"), again=True) for _ in range(2)]
    with pytest.raises(Overloaded):
        admission.take(Caller(key_id="few"))
    new = admission.take(Caller(key_id="many"), again=True)
    admission.leave(held)
    assert [place.waits for place in (*again, new)] == [False, True, True]
