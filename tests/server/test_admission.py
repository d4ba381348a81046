"""Places, seats, fairness between keys, and the way out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.admission import Admission, Caller
from streaming.errors import Draining, Overloaded, RateLimited
from tests.fakes import ManualClock

ANNA, BERT = Caller(key_id="anna"), Caller(key_id="bert")


def admission(
    active: int = 1, queued: int = 4, clock: Callable[[], float] = lambda: 0.0
) -> Admission:
    return Admission(active=active, queued=queued, retry_after_s=1.5, clock=clock)


async def settle() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


class Crowd:
    """Requests that hold their place until they are told to leave."""

    def __init__(self, places: Admission) -> None:
        self.places = places
        self.order: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, name: str, caller: Caller = ANNA) -> None:
        self.ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._hold(name, caller))
        await settle()

    async def _hold(self, name: str, caller: Caller) -> None:
        with self.places.place(caller) as place:
            await place.ready()
            self.order.append(name)
            await self.ends[name].wait()

    async def leave(self, name: str) -> None:
        self.ends[name].set()
        await asyncio.wait_for(self.tasks[name], 2.0)
        await settle()

    async def all_leave(self) -> list[str]:
        for event in self.ends.values():
            event.set()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        return self.order


async def test_first_come_first_served_and_nobody_beyond_the_seats() -> None:
    places = admission(queued=2)
    crowd = Crowd(places)
    for name in "abc":
        await crowd.come(name)
    assert (crowd.order, places.active, places.waiting) == (["a"], 1, 2)
    with pytest.raises(Overloaded) as caught, places.place(ANNA):
        raise AssertionError("unreachable")
    assert caught.value.retry_after_s == 1.5, "nothing is measured yet"
    assert await crowd.all_leave() == ["a", "b", "c"]
    assert (places.active, places.waiting) == (0, 0)


async def test_leaving_the_queue_frees_the_seat() -> None:
    places = admission(queued=1)
    crowd = Crowd(places)
    await crowd.come("a")
    await crowd.come("b")
    crowd.tasks["b"].cancel()
    await asyncio.gather(crowd.tasks["b"], return_exceptions=True)
    assert places.waiting == 0
    await crowd.come("c")
    await crowd.leave("a")
    assert await crowd.all_leave() == ["a", "c"]


async def test_one_that_is_cancelled_while_its_turn_comes_passes_it_on() -> None:
    places = admission()
    crowd = Crowd(places)
    for name in "abc":
        await crowd.come(name)
    crowd.tasks["b"].cancel()
    crowd.ends["a"].set()
    await asyncio.gather(*(crowd.tasks[name] for name in "ab"), return_exceptions=True)
    await settle()
    assert crowd.order == ["a", "c"]
    await crowd.all_leave()
    assert (places.active, places.waiting) == (0, 0)


async def test_a_flood_of_one_key_delays_another_key_by_one_request() -> None:
    places = admission(queued=6)
    crowd = Crowd(places)
    for name in ("a1", "a2", "a3", "a4"):
        await crowd.come(name)
    await crowd.come("b1", BERT)
    await crowd.come("b2", BERT)
    for name in ("a1", "b1", "a2", "b2", "a3"):
        await crowd.leave(name)
    assert await crowd.all_leave() == ["a1", "b1", "a2", "b2", "a3", "a4"]


async def test_a_full_queue_gives_a_newcomer_the_seat_of_who_has_most() -> None:
    places = admission(queued=3)
    crowd = Crowd(places)
    for name in ("a1", "a2", "a3", "a4"):
        await crowd.come(name)
    await crowd.come("b1", BERT)
    assert isinstance(crowd.tasks["a4"].exception(), Overloaded), "its seat was the newest"
    await crowd.come("b2", BERT)
    assert isinstance(crowd.tasks["b2"].exception(), Overloaded), "bert would have as many as anna"
    assert await crowd.all_leave() == ["a1", "b1", "a2", "a3"]


async def test_a_higher_priority_goes_first_and_is_not_displaced() -> None:
    places = admission(queued=2)
    crowd = Crowd(places)
    await crowd.come("a1")
    await crowd.come("a2")
    vip = Caller(key_id="vip", priority=1)
    await crowd.come("v1", vip)
    await crowd.leave("a1")
    await crowd.leave("v1")
    assert await crowd.all_leave() == ["a1", "v1", "a2"]


async def test_the_wait_is_predicted_from_what_was_measured() -> None:
    clock = ManualClock()
    places = admission(active=2, queued=3, clock=clock)
    crowd = Crowd(places)
    await crowd.come("a")
    await clock.advance(4.0)
    await crowd.leave("a")
    for name in "bcde":
        await crowd.come(name)
    with places.place(ANNA) as place:
        assert (place.ahead, place.predicted_s) == (2, 6.0), "three of 4 s at two places"
        with pytest.raises(Overloaded) as caught, places.place(ANNA):
            raise AssertionError("unreachable")
        assert caught.value.retry_after_s == 8.0
    await crowd.all_leave()


async def test_a_key_has_its_own_limits() -> None:
    clock = ManualClock()
    places = admission(active=9, clock=clock)
    caller = Caller(key_id="k", concurrent=2, requests_per_minute=3, characters_per_minute=600)

    def refused() -> RateLimited:
        with pytest.raises(RateLimited) as caught, places.place(caller):
            raise AssertionError("unreachable")
        return caught.value

    with places.place(caller), places.place(caller):
        assert "2 requests at once" in refused().message
        with places.place(BERT):
            assert places.active == 3, "others are not held up"
    with places.place(caller):
        places.spend(caller, 30)
    late = refused()
    assert "3 requests in a minute" in late.message
    assert late.retry_after_s == pytest.approx(20.0)
    await clock.advance(20.0)
    with places.place(caller):
        places.spend(caller, 1200)
    await clock.advance(20.0)
    assert refused().retry_after_s == pytest.approx(40.1), "a debt of 401 is paid back"
    await clock.advance(41.0)
    with places.place(caller):
        assert places.active == 1


async def test_a_refused_request_costs_nothing() -> None:
    places = admission(active=1, queued=0)
    caller = Caller(key_id="k", requests_per_minute=2)
    with places.place(caller):
        for _ in range(5):
            with pytest.raises(Overloaded), places.place(caller):
                raise AssertionError("unreachable")
    with places.place(caller):
        assert places.active == 1


async def test_draining_lets_those_finish_who_are_in() -> None:
    places = admission()
    crowd = Crowd(places)
    await crowd.come("a")
    await crowd.come("b")
    draining = asyncio.create_task(places.drain())
    await asyncio.sleep(0)
    with pytest.raises(Draining), places.place():
        raise AssertionError("unreachable")
    assert not draining.done()
    assert await crowd.all_leave() == ["a", "b"]
    await draining


async def test_who_goes_on_has_no_more_places_than_its_key_may_have() -> None:
    places = admission(active=3, queued=4)
    narrow = Caller(key_id="k", concurrent=1)
    first, *others = (places.take(narrow, again=True) for _ in range(3))
    assert [place.waits for place in (first, *others)] == [False, True, True], "two are free"
    bert = [places.take(BERT) for _ in range(2)]
    assert not any(place.waits for place in bert), "others are not held up"
    places.leave(bert[0])
    assert others[0].waits, "a place of another key is none for this one"
    places.leave(first)
    assert [place.waits for place in others] == [False, True]
    for place in (others[0], others[1], bert[1]):
        places.leave(place)
    assert (places.active, places.waiting) == (0, 0)


async def test_a_place_that_the_first_in_line_may_not_have_goes_to_the_next() -> None:
    places = admission(active=2)
    vip = Caller(key_id="vip", priority=1, concurrent=1)
    held, anna = places.take(vip), places.take(ANNA)
    again, bert = places.take(vip, again=True), places.take(BERT)
    assert [place.waits for place in (again, bert)] == [True, True]
    places.leave(anna)
    assert [place.waits for place in (again, bert)] == [True, False]
    places.leave(held)
    assert [place.waits for place in (again, bert)] == [False, False]


async def test_a_seat_is_taken_away_from_one_that_was_cancelled_in_the_same_moment() -> None:
    places = admission(queued=2)
    held = places.take(ANNA)
    waiting = [places.take(ANNA) for _ in range(2)]
    waiting[-1].granted.cancel()
    bert = places.take(BERT)
    assert (places.active, places.waiting) == (1, 2)
    for place in (waiting[1], held, waiting[0]):
        places.leave(place)
    assert not bert.waits


async def test_a_check_refuses_what_a_request_would_be_refused_for_and_costs_nothing() -> None:
    places = admission(active=1, queued=0)
    caller = Caller(key_id="k", requests_per_minute=1)
    for _ in range(3):
        places.check(caller)
    with places.place(caller):
        with pytest.raises(RateLimited):
            places.check(caller)
        with pytest.raises(Overloaded):
            places.check(BERT)
    places.check(BERT)
    places.draining.set()
    with pytest.raises(Draining):
        places.check(BERT)


STEPS = st.tuples(st.sampled_from(["come", "leave", "cancel"]), st.integers(0, 5))


@given(st.lists(STEPS, max_size=60))
def test_places_and_seats_are_never_lost_or_exceeded(steps: list[tuple[str, int]]) -> None:
    async def play() -> None:
        places = admission(active=2, queued=3)
        crowd = Crowd(places)
        for number, (step, which) in enumerate(steps):
            live = [name for name, task in crowd.tasks.items() if not task.done()]
            if step == "come":
                await crowd.come(str(number), Caller(key_id=str(which % 3), priority=which % 2))
            elif live and step == "leave":
                crowd.ends[live[which % len(live)]].set()
            elif live:
                crowd.tasks[live[which % len(live)]].cancel()
            await settle()
            assert places.active <= 2 and places.waiting <= 3
            assert places.full or not places.waiting, "nobody waits beside a free place"
        await crowd.all_leave()
        assert (places.active, places.waiting) == (0, 0)
        await asyncio.wait_for(places.drain(), 1.0)

    asyncio.run(play())
