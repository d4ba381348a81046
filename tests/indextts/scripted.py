"""An engine that writes what a test tells it, when a test tells it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import torch
from torch import Tensor

from indextts.engines.base import Generation, Progress, SamplingParams
from indextts.tensors import Codes, Latents, Prompt
from streaming.speech import Urgency


async def _at_once(count: int) -> None:
    """Let others run, no more."""
    await asyncio.sleep(0)


class ScriptedEngine:
    """Gives the ``attempts`` in turn, codes and whether they stop; ``pace`` is awaited before each
    code. States are random but fixed, one per place.
    """

    def __init__(
        self,
        attempts: Sequence[tuple[Sequence[int], bool]],
        width: int,
        pace: Callable[[int], Awaitable[None]] = _at_once,
    ) -> None:
        self._attempts = list(attempts)
        self._width = width
        self._pace = pace
        self.started = self.cancelled = 0

    async def generate(
        self,
        request_id: str,
        prompt: Prompt,
        params: SamplingParams,
        urgency: Urgency,
        progress: Progress | None = None,
    ) -> Generation:
        codes, stopped = self._attempts[min(self.started, len(self._attempts) - 1)]
        self.started += 1
        generator = torch.Generator().manual_seed(1)
        states: list[Tensor] = list(torch.randn(len(codes), self._width, generator=generator))
        try:
            for count in range(1, len(codes) + 1):
                await self._pace(count)
                if progress is not None:
                    progress.grow(codes[:count], states[:count])
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Generation(
            codes=Codes(torch.tensor([list(codes)])),
            latents=Latents(torch.stack(states)[None]),
            stopped=stopped,
        )

    @property
    def active(self) -> frozenset[str]:
        return frozenset()

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        return None
