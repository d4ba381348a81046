"""The torch engine: continuous batching on the event loop, every tensor on the device worker.

Requests wait in a bounded queue, join by a prefill between two steps, and leave when their stop
code came, their budget is used up or nobody waits for them any more. One work item is one prefill
or one step of all rows, so that other work can run between them.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType

from indextts.engines.base import Generation, Progress, SamplingParams
from indextts.engines.decode_batch import DecodeBatch, Row
from indextts.gpt.model import CodeGpt
from indextts.tensors import Prompt
from streaming.errors import EngineFailed, Overloaded
from streaming.speech import Urgency, Worker

_log = logging.getLogger(__name__)
_RETRY_AFTER_S = 1.0


class SharedUrgency(Urgency):
    """As urgent as the most urgent of several requests."""

    __slots__ = ("_members",)

    def __init__(self, members: Sequence[Urgency]) -> None:
        super().__init__()
        self._members = tuple(members)

    def key(self) -> tuple[int, float]:
        """The smallest key, evaluated when the worker picks."""
        return min(member.key() for member in self._members)

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants it any more."""
        return all(member.cancelled for member in self._members)


@dataclass(slots=True, kw_only=True, eq=False)
class _Request:
    """A generation somebody waits for."""

    request_id: str
    prompt: Prompt
    urgency: Urgency
    row: Row
    progress: Progress | None = None
    joined: bool = False
    result: asyncio.Future[Generation] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


@dataclass(slots=True, kw_only=True, eq=False)
class _Item:
    """Work handed to the worker, and for whom."""

    task: asyncio.Future[None]
    requests: Sequence[_Request]


class TorchEngine:
    """Serves a ``CodeGpt`` on the device and in the precision of its weights.

    ``slots`` generations run at once, ``waiting`` more may wait; ``positions`` bounds prompt plus
    codes of one generation (default: what the model has embeddings for). The loop task lives from
    ``start`` to ``close``; ``async with`` does both.
    """

    def __init__(
        self,
        model: CodeGpt,
        *,
        worker: Worker,
        slots: int = 8,
        waiting: int = 64,
        positions: int | None = None,
    ) -> None:
        self._model = model
        self._worker = worker
        self._slots = slots
        self._waiting = waiting
        self._positions = positions or model.sizes.max_positions
        self._requests: dict[str, _Request] = {}
        self._wake = asyncio.Event()
        self._batch: DecodeBatch | None = None
        self._item: _Item | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def active(self) -> frozenset[str]:
        """Request ids that hold a place or wait for one."""
        return frozenset(self._requests)

    async def start(self) -> None:
        """Allocate the cache and begin to serve; starting twice is starting once."""
        if self._serving is None:
            self._batch = await self._worker.run(self._new_batch, Urgency(), name="gpt.cache")
            self._serving = asyncio.create_task(self._serve(), name="torch engine")

    async def close(self) -> None:
        """Stop; requests that run or wait fail with ``EngineFailed``."""
        serving, self._serving = self._serving, None
        if serving is not None:
            serving.cancel()
            await asyncio.wait({serving})
        self._fail_all("the engine was closed")
        self._batch = None

    async def __aenter__(self) -> TorchEngine:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def generate(
        self,
        request_id: str,
        prompt: Prompt,
        params: SamplingParams,
        urgency: Urgency,
        progress: Progress | None = None,
    ) -> Generation:
        """Codes and latents for one prompt ``[1, P, C]``; cancelling the caller frees the place.

        Raises ``ValueError`` when prompt or parameters do not fit, ``Overloaded`` when the queue
        is full, ``EngineFailed`` when the engine is closed or breaks down.
        """
        self._check(request_id, prompt, params)
        if self._serving is None or self._serving.done():
            raise EngineFailed("the engine is not running", retry_after_s=_RETRY_AFTER_S)
        if sum(not request.joined for request in self._requests.values()) >= self._waiting:
            raise Overloaded("too many requests are waiting", retry_after_s=_RETRY_AFTER_S)
        row = Row(params=params)
        request = _Request(
            request_id=request_id, prompt=prompt, urgency=urgency, row=row, progress=progress
        )
        self._requests[request_id] = request
        self._wake.set()
        try:
            return await request.result
        finally:
            self._abandon(request)

    def _check(self, request_id: str, prompt: Prompt, params: SamplingParams) -> None:
        sizes = self._model.sizes
        if request_id in self._requests:
            raise ValueError(f"request id {request_id!r} is in use")
        if prompt.dim() != 3 or prompt.shape[0] != 1 or prompt.shape[2] != sizes.width:
            raise ValueError(f"a prompt is [1, P, {sizes.width}], not {list(prompt.shape)}")
        if not 1 <= params.max_codes <= sizes.max_codes:
            raise ValueError(f"max_codes must be in 1..{sizes.max_codes}, not {params.max_codes}")
        needed = prompt.shape[1] + params.max_codes
        if prompt.shape[1] < 1 or needed > self._positions:
            raise ValueError(f"{needed} positions are needed; there are {self._positions}")
        if not (0 <= params.temperature < math.inf and 0 < params.top_p <= 1):
            raise ValueError("temperature must not be negative, top_p must be in (0, 1]")
        if not 0 < params.repetition_penalty < math.inf:
            raise ValueError("repetition_penalty must be positive")

    def _new_batch(self) -> DecodeBatch:
        return DecodeBatch(self._model, rows=self._slots, positions=self._positions)

    async def _serve(self) -> None:
        """Join one, step all, for ever; a crash fails whoever is here and begins afresh."""
        while True:
            if not self._requests:
                self._wake.clear()
                await self._wake.wait()
            try:
                if self._batch is None:
                    self._batch = await self._worker.run(
                        self._new_batch, Urgency(), name="gpt.cache"
                    )
                await self._join_next(self._batch)
                await self._step(self._batch)
            except Exception:
                _log.exception("the engine broke down; it starts afresh")
                self._batch = None
                self._fail_all("the engine broke down")

    async def _join_next(self, batch: DecodeBatch) -> None:
        """Prefill the most urgent request that waits, if there is a free place."""
        waiting = [request for request in self._requests.values() if not request.joined]
        if not waiting or len(self._requests) - len(waiting) >= self._slots:
            return
        request = min(waiting, key=lambda one: one.urgency.key())
        request.joined = True
        work = partial(batch.join, request.row, request.prompt)
        await self._run([request], work, "gpt.prefill")

    async def _step(self, batch: DecodeBatch) -> None:
        running = [request for request in self._requests.values() if request.joined]
        if running:
            await self._run(running, batch.step, "gpt.step")

    async def _run(self, requests: Sequence[_Request], work: Callable[[], None], name: str) -> None:
        """Run a work item for ``requests`` and hand results to those that ended.

        The item is withdrawn before it begins when all of them are abandoned.
        """
        urgency = SharedUrgency([request.urgency for request in requests])
        task = asyncio.ensure_future(self._worker.run(work, urgency, name=name))
        self._item = _Item(task=task, requests=requests)
        try:
            await asyncio.wait({task})
        finally:
            self._item = None
            task.cancel()
        if not task.cancelled():
            task.result()
        elif not (urgency.cancelled or all(request.row.abandoned for request in requests)):
            raise EngineFailed("the worker dropped an item")
        for request in requests:
            self._deliver(request)

    def _deliver(self, request: _Request) -> None:
        """Tell of the progress of a request; if it ended, hand over its outcome, free its place."""
        row = request.row
        if row.abandoned or request.result.done():
            return
        if request.progress is not None:
            request.progress.grow(row.codes, row.states)
        if not row.ended:
            return
        del self._requests[request.request_id]
        if row.outcome is not None:
            request.result.set_result(row.outcome)
        else:
            request.result.set_exception(EngineFailed("the model computed bad numbers"))

    def _abandon(self, request: _Request) -> None:
        """Nobody waits for ``request`` any more: free its place, withdraw work for it alone."""
        request.row.abandoned = True
        if self._requests.get(request.request_id) is request:
            del self._requests[request.request_id]
        item = self._item
        if item is not None and all(one.row.abandoned for one in item.requests):
            item.task.cancel()

    def _fail_all(self, message: str) -> None:
        requests, self._requests = list(self._requests.values()), {}
        for request in requests:
            if not request.result.done():
                request.result.set_exception(EngineFailed(message, retry_after_s=_RETRY_AFTER_S))
