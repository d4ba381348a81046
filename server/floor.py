"""The right to compute for one text: taken when it has something to say, given back when not.

A conversation that waits for its next words holds no place, however long it stays open.
"""

from __future__ import annotations

import asyncio

from server.admission import Admission, Caller, Place

LINGER_S = 1.0
"""How long a text that has nothing to say keeps its place; pauses between words are shorter."""


class Floor:
    """A text's place while it has one; a ``Place`` that a door took beforehand is kept to the end.

    ``take`` waits in line, ``leave`` says that nothing is left to say for now.
    """

    def __init__(
        self, admission: Admission, caller: Caller | Place, *, linger_s: float = LINGER_S
    ) -> None:
        self._admission = admission
        self._lent = isinstance(caller, Place)
        self.place = caller if isinstance(caller, Place) else None
        self.caller = caller.caller if isinstance(caller, Place) else caller
        self._linger_s = linger_s
        self._giving: asyncio.TimerHandle | None = None
        self._over = False
        if not self._lent and admission.draining.is_set():
            raise admission.refusal()
        admission.count_text(1)

    def ask(self) -> Place:
        """A place, or a seat whose ``ready`` is to be awaited; raises what ``Admission`` raises.

        Whoever was let in before the server began to drain may finish.
        """
        if self.place is None:
            self.place = self._admission.take(self.caller, again=self._admission.draining.is_set())
        return self.place

    async def take(self) -> None:
        """Have a place, after waiting for it; who had one before is never turned away."""
        self._stay()
        if self.place is None:
            self.place = self._admission.take(self.caller, again=True)
        await self.place.ready()

    def leave(self) -> None:
        """Give the place back unless there is something to say soon."""
        self._stay()
        if not self._lent:
            self._giving = asyncio.get_running_loop().call_later(self._linger_s, self._give)

    def close(self) -> None:
        """The text is over."""
        self._stay()
        if not self._lent:
            self._give()
        if not self._over:
            self._over = True
            self._admission.count_text(-1)

    def _stay(self) -> None:
        if self._giving is not None:
            self._giving.cancel()
            self._giving = None

    def _give(self) -> None:
        place, self.place = self.place, None
        if place is not None:
            self._admission.leave(place)
