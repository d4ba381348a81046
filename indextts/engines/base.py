"""What an engine is: it turns a prompt into codes, for many requests at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from indextts.tensors import Codes, Latents, Prompt
from streaming.speech import Urgency


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """Resolved sampling values of one generation.

    ``temperature`` 0 means greedy. ``repetition_penalty`` counts generated codes only. ``seed``
    feeds a generator of this request alone. ``max_codes`` is the budget: a generation that
    reaches it is ``stopped = False``.
    """

    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    seed: int
    max_codes: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Generation:
    """Codes without the stop code, the states that chose them, and whether it did stop."""

    codes: Codes
    latents: Latents
    stopped: bool


class Progress:
    """Codes and states of a generation as they come, for one reader on the event loop.

    An engine that cannot tell before the end need not write into it.
    """

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.states: list[Tensor] = []
        self._news = asyncio.Event()
        self._closed = False
        self._read = False

    def grow(self, codes: Sequence[int], states: Sequence[Tensor]) -> None:
        """All ``codes`` so far and the states ``[C]`` that chose them."""
        known = len(self.states)
        if len(states) > known:
            self.codes.extend(codes[known:])
            self.states.extend(states[known:])
            self._news.set()

    async def read(self, count: int) -> bool:
        """Wait until there are ``count`` codes, for good: they will not be replaced.

        False when the generation ended before; nothing counts as read then.
        """
        while len(self.states) < count and not self._closed:
            self._news.clear()
            await self._news.wait()
        enough = len(self.states) >= count and not self._closed
        self._read = self._read or enough
        return enough

    def restart(self) -> bool:
        """Forget everything for another attempt; False when some was read already."""
        if not self._read:
            self.codes, self.states = [], []
        return not self._read

    def close(self) -> None:
        """Nothing more will come."""
        self._closed = True
        self._news.set()


class Engine(Protocol):
    """Serves generations; cancelling the awaiting task aborts the request and frees its place."""

    async def generate(
        self,
        request_id: str,
        prompt: Prompt,
        params: SamplingParams,
        urgency: Urgency,
        progress: Progress | None = None,
    ) -> Generation:
        """Codes for one prompt ``[1, P, D]`` (position rule A of the specification, section 6.4).

        ``progress`` hears of them as they come.

        Raises ``EngineFailed`` when the engine is down and ``ValueError`` when the prompt does
        not fit.
        """
        ...

    @property
    def active(self) -> frozenset[str]:
        """Request ids that hold a place or wait for one."""
        ...

    async def start(self) -> None:
        """Begin to serve."""
        ...

    async def close(self) -> None:
        """Stop; requests still waiting fail with ``EngineFailed``."""
        ...
