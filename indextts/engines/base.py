"""What an engine is: it turns a prompt into codes, for many requests at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

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


class Engine(Protocol):
    """Serves generations; cancelling the awaiting task aborts the request and frees its place."""

    async def generate(
        self, request_id: str, prompt: Prompt, params: SamplingParams, urgency: Urgency
    ) -> Generation:
        """Codes for one prompt ``[1, P, D]`` (position rule A of the specification, section 6.4).

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
