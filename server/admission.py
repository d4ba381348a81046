"""Who may speak now: a bounded number at once, a bounded number behind them, nobody else.

The queue is fair: callers of the highest priority first, among them the key that speaks least, in
turn, among its requests the oldest. When all seats are taken, a key that has fewer of them takes
the newest seat of the key that has most.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.types import Scope

from server.rates import Rates
from streaming.errors import Draining, Overloaded, RateLimited

_MEASURED_WEIGHT = 0.1
"""How much the newest of the measured service times counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whose request it is; a higher ``priority`` leaves the queue first, ``None`` is no limit."""

    key_id: str = "anonymous"
    priority: int = 0
    concurrent: int | None = None
    requests_per_minute: int | None = None
    characters_per_minute: int | None = None

    def has_enough(self, requests: int) -> bool:
        """Whether it may have no more than so many at once."""
        return self.concurrent is not None and requests >= self.concurrent


ANONYMOUS = Caller()
"""Everybody, where no keys are asked for."""


def caller_of(scope: Scope) -> Caller:
    """Who the authentication in front of all routes found behind a connection."""
    caller: Caller = scope.get("state", {}).get("caller", ANONYMOUS)
    return caller


@dataclass(eq=False, slots=True, kw_only=True)
class Place:
    """A place to speak, or a seat in the queue for one: ``ahead`` requests leave it earlier.

    The seat of one who speaks ``again`` is not taken away.
    """

    caller: Caller
    granted: asyncio.Future[None]
    again: bool = False
    granted_s: float = 0.0
    ahead: int = 0
    predicted_s: float = 0.0

    @property
    def waits(self) -> bool:
        """Whether somebody has to leave first."""
        return not self.granted.done()

    @property
    def speaks(self) -> bool:
        """Whether it is a place."""
        return self.granted.done() and not self.granted.cancelled() and not self.granted.exception()

    async def ready(self) -> None:
        """Return when it is this one's turn; raises ``Overloaded`` when the seat was taken away."""
        await self.granted


class _Wait:
    """How long one waits, from how long requests have held their places."""

    def __init__(self, *, places: int, assumed_s: float) -> None:
        self.assumed_s = assumed_s
        self._places = places
        self._held_s: float | None = None

    def measure(self, held_s: float) -> None:
        """A request has held its place so long."""
        known_s = held_s if self._held_s is None else self._held_s
        self._held_s = known_s + _MEASURED_WEIGHT * (held_s - known_s)

    def behind_s(self, ahead: int) -> float:
        """How long one waits behind so many; assumed while nothing is measured."""
        if self._held_s is None:
            return self.assumed_s
        return self._held_s * (ahead + 1) / self._places


class Admission:
    """``active`` places and ``queued`` seats to wait for one."""

    def __init__(
        self,
        *,
        active: int,
        queued: int,
        retry_after_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._places = active
        self._seats = queued
        self._clock = clock
        self._wait = _Wait(places=active, assumed_s=retry_after_s)
        self._rates = Rates(clock)
        self._lines: dict[str, deque[Place]] = {}
        """Waiting requests by key."""
        self._speaking: Counter[str] = Counter()
        self._turns: dict[str, int] = {}
        """When each key that speaks or waits had its last turn, in turns."""
        self._granted = 0
        self._texts = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = asyncio.Event()

    @property
    def active(self) -> int:
        """Places that are taken."""
        return self._speaking.total()

    @property
    def waiting(self) -> int:
        """Seats that are taken."""
        return sum(map(len, self._lines.values()))

    @property
    def full(self) -> bool:
        """Whether the next one has to wait."""
        return self.active >= self._places

    def refusal(self) -> Draining:
        """The error that tells of the shutdown."""
        return Draining("the server is shutting down", retry_after_s=self._wait.assumed_s)

    def predicted_s(self, ahead: int) -> float:
        """How long one waits behind so many, from how long requests have held their places."""
        return self._wait.behind_s(ahead)

    def spend(self, caller: Caller, characters: int) -> None:
        """Count characters against the caller's limit; too many delay the next request."""
        limit = caller.characters_per_minute
        self._rates.spend(caller.key_id, "characters", limit, characters)

    def spend_request(self, caller: Caller) -> None:
        """Count a request against the caller's limit."""
        self._rates.spend(caller.key_id, "requests", caller.requests_per_minute, 1)

    def check(self, caller: Caller) -> None:
        """Refuse as ``take`` would now: for what is to be done before, and costs more than that.

        Raises ``Draining``, ``RateLimited``, and ``Overloaded`` when all seats are taken.
        """
        if self.draining.is_set():
            raise self.refusal()
        self._check_limits(caller)
        if self.full and self.waiting >= self._seats:
            self._loser(caller)

    def take(self, caller: Caller, *, again: bool = False) -> Place:
        """A place, or a seat whose ``ready`` is to be awaited; ``leave`` it in any case.

        Raises at once what ``check`` raises; not for one who speaks ``again`` in a text that was
        let in, of which there are only so many.
        """
        if not again:
            self.check(caller)
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = Place(caller=caller, granted=granted, again=again)
        if not self.full and not caller.has_enough(self._speaking[caller.key_id]):
            self._grant(place)
        else:
            if self.waiting >= self._seats and not again:
                self._make_room(caller)
            self._sit(place)
        if not again:
            self.spend_request(caller)
        self._mark_idle()
        return place

    def leave(self, place: Place) -> None:
        """Give a place to the next one, or give up a seat."""
        if place.speaks:
            self._speaking[place.caller.key_id] -= 1
            self._wait.measure(self._clock() - place.granted_s)
            self._seat_next()
        else:
            self._forget(place)
        self._speaking += Counter()  # forgets keys that speak no more
        if place.caller.key_id not in {*self._speaking, *self._lines}:
            self._turns.pop(place.caller.key_id, None)
        self._mark_idle()

    def count_text(self, change: int) -> None:
        """A text is let in (1) or over (-1); it may have nothing to say in between."""
        self._texts += change
        self._mark_idle()

    @contextmanager
    def place(self, caller: Caller | Place = ANONYMOUS) -> Iterator[Place]:
        """``take`` and ``leave``; a place that was taken before is left to its taker."""
        if isinstance(caller, Place):
            yield caller
            return
        place = self.take(caller)
        try:
            yield place
        finally:
            self.leave(place)

    async def drain(self) -> None:
        """Admit nobody else and return when the last one has left."""
        self.draining.set()
        await self._idle.wait()

    def _mark_idle(self) -> None:
        if self.active or self.waiting or self._texts:
            self._idle.clear()
        else:
            self._idle.set()

    def _check_limits(self, caller: Caller) -> None:
        """Raise ``RateLimited`` when the caller has used up a limit of its own."""
        own = self._speaking[caller.key_id] + len(self._lines.get(caller.key_id, ()))
        if caller.has_enough(own):
            raise RateLimited(
                f"this key may have {caller.concurrent} requests at once",
                retry_after_s=self.predicted_s(0),
            )
        self._rates.check(caller.key_id, "requests", caller.requests_per_minute)
        self._rates.check(caller.key_id, "characters", caller.characters_per_minute)

    def _grant(self, place: Place) -> None:
        self._speaking[place.caller.key_id] += 1
        self._granted += 1
        self._turns[place.caller.key_id] = self._granted
        place.granted_s = self._clock()
        place.granted.set_result(None)

    def _make_room(self, newcomer: Caller) -> None:
        loser = self._loser(newcomer)
        self._forget(loser)
        if not loser.granted.done():  # or its request was cancelled a moment ago
            loser.granted.set_exception(self._overloaded())
            loser.granted.exception()  # it may leave without asking

    def _sit(self, place: Place) -> None:
        line = self._lines.setdefault(place.caller.key_id, deque())
        line.append(place)
        place.ahead = _ahead(line, self._lines.values())
        place.predicted_s = self.predicted_s(place.ahead)

    def _loser(self, newcomer: Caller) -> Place:
        """The newest seat of the longest line; raises ``Overloaded`` if taking it is unfair."""
        own = len(self._lines.get(newcomer.key_id, ()))
        longest = max(self._lines.values(), key=len, default=deque[Place]())
        loser = next((place for place in reversed(longest) if not place.again), None)
        if loser is None or len(longest) <= own + 1 or loser.caller.priority > newcomer.priority:
            raise self._overloaded()
        return loser

    def _overloaded(self) -> Overloaded:
        wait_s = self.predicted_s(self.waiting)
        return Overloaded("all places are taken", retry_after_s=wait_s)

    def _seat_next(self) -> None:
        """Give free places to those whose turn it is."""
        while self._lines and not self.full:
            place = min((line[0] for line in self._lines.values()), key=self._rank)
            if place.caller.has_enough(self._speaking[place.caller.key_id]):
                break
            self._forget(place)
            if not place.granted.done():  # or its request was cancelled a moment ago
                self._grant(place)

    def _rank(self, place: Place) -> tuple[bool, int, int, int]:
        """Smallest for the key whose turn it is."""
        caller, speaking = place.caller, self._speaking[place.caller.key_id]
        turn = self._turns.get(caller.key_id, 0)
        return caller.has_enough(speaking), -caller.priority, speaking, turn

    def _forget(self, place: Place) -> None:
        line = self._lines.get(place.caller.key_id, deque())
        if place in line:
            line.remove(place)
        if not line:
            self._lines.pop(place.caller.key_id, None)


def _ahead(line: deque[Place], lines: Iterable[deque[Place]]) -> int:
    """How many leave the queue before the last of ``line``."""
    priority, ahead = line[0].caller.priority, len(line) - 1
    for other in lines:
        if other is not line and other[0].caller.priority >= priority:
            equal = other[0].caller.priority == priority
            ahead += min(len(other), len(line)) if equal else len(other)
    return ahead
