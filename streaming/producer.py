"""Begins the chunks of a context in order, as look-ahead allows, and pulls the model."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from streaming.chunks import TextChunk
from streaming.errors import EngineFailed, Internal, SpeechError, SynthesisFailed
from streaming.lanes import Lane, Segment, Stopwatch
from streaming.pulse import Pulse
from streaming.speech import (
    Brake,
    ChunkReport,
    Floor,
    Prepared,
    Samples,
    SpeechModel,
    Take,
    Urgency,
    VoiceT,
)

_log = logging.getLogger(__name__)
_ItemT = TypeVar("_ItemT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """``room`` and ``longest_chunk`` are samples at the model's rate, both per chunk."""

    look_ahead: int
    room: int
    longest_chunk: int


class Producer(Generic[VoiceT]):
    """The making half of a context: ``run`` makes lanes, ``next_lane`` hands them out in order.

    Whoever sends them says so (``went_out``, ``sent``), which lets later chunks begin. ``first`` is
    how the first chunk is said; ``sent_lead_s`` is the seconds of sent audio not yet played.
    """

    def __init__(
        self,
        model: SpeechModel[VoiceT],
        first: Take[VoiceT],
        *,
        bounds: Bounds,
        clock: Callable[[], float],
        threads: ThreadPoolExecutor,
        sent_lead_s: Callable[[], float],
        brake: Brake,
        pulse: Pulse,
        floor: Floor | None,
    ) -> None:
        self._brake = brake
        self._floor = floor
        self._pulse = pulse
        self.computing = Stopwatch(clock)
        self.arrived_s = self.prepared_s = clock()
        self.characters_in = 0
        self.segments = 0
        self._model = model
        self._model_hz = model.info.sample_rate_hz
        self._heard_hz = self._model_hz * first.request.speed
        self._first = first
        self._bounds = bounds
        self._clock = clock
        self._threads = threads
        self._sent_lead_s = sent_lead_s
        self._announced: deque[Lane | SpeechError | None] = deque()
        self._lanes: list[Lane] = []
        self._begun = 0
        self._out = False
        self._changed = asyncio.Event()

    def cancel(self) -> None:
        """Make sure that no work item of this context begins any more."""
        self._brake.pull()

    async def run(self, chunks: AsyncIterator[TextChunk]) -> None:
        """Begin chunks in order as look-ahead allows; what fails is raised by ``next_lane``."""
        try:
            async with asyncio.TaskGroup() as group:
                try:
                    await self._dispatch(chunks, group)
                except Exception as error:
                    self._announce(self._typed(error))
                self._announce(None)
        finally:
            self._announce(EngineFailed("The model stopped in the middle of a text."))

    async def next_lane(self) -> Lane | None:
        """The next chunk to send, ``None`` after the last; raises what ended the context early."""
        while not self._announced:
            await self._change()
        lane = self._announced.popleft()
        if isinstance(lane, SpeechError):
            raise lane
        return lane

    def went_out(self, lane: Lane) -> None:
        """The listener has samples of this chunk and asks for more."""
        if not self._out:
            self._out = True
            lane.urgency.first = False
            self._changed.set()

    def sent(self, lane: Lane) -> None:
        """The listener has all of this chunk."""
        self._lanes.remove(lane)
        self._leave()

    async def _dispatch(self, chunks: AsyncIterator[TextChunk], group: asyncio.TaskGroup) -> None:
        async for chunk in chunks:
            if not self.characters_in:
                self.arrived_s = self._clock()
            self.characters_in = chunk.end
            await self._turn()
            async with self._pulse.watched():
                prepared = await self._prepare(chunk)
            segments = _placed(chunk, prepared, self.segments)
            self.segments += len(segments)
            for segment in segments:
                if segment is not segments[0]:
                    await self._turn()
                lane = self._open(segment)
                group.create_task(self._produce(lane), name=f"chunk {segment.index}")
            if not segments:
                self._leave()

    async def _turn(self) -> None:
        """Wait until one more chunk may begin, count it as begun, and have the floor for it."""
        while self._begun >= (self._bounds.look_ahead if self._out else 1):
            await self._change()
        self._begun += 1
        if self._floor is not None:
            await self._floor.take()

    def _leave(self) -> None:
        self._begun -= 1
        self._changed.set()
        if self._floor is not None and not self._begun:
            self._floor.leave()

    async def _prepare(self, chunk: TextChunk) -> tuple[Prepared, ...]:
        def work() -> tuple[float, tuple[Prepared, ...]]:
            return self._clock(), self._model.prepare(chunk.text, self._first.request)

        loop = asyncio.get_running_loop()
        with self.computing, self._pulse:
            began_s, prepared = await loop.run_in_executor(self._threads, work)
        if chunk.is_first:
            self.prepared_s = began_s
        return prepared

    def _open(self, segment: Segment) -> Lane:
        tokens = len(segment.prepared.token_ids)
        lane = Lane(
            segment,
            urgency=Urgency(
                first=not self._out, lead_s=lambda: self._lead_s(lane), brake=self._brake
            ),
            room=self._bounds.room,
            expected=tokens * self._model_hz / self._model.info.tokens_per_second,
        )
        self._lanes.append(lane)
        self._announce(lane)
        return lane

    async def _produce(self, lane: Lane) -> None:
        take = replace(self._first, chunk_index=lane.segment.index, urgency=lane.urgency)
        try:
            async with _closing(self._model.speak(lane.segment.prepared, take)) as items:
                async with self._pulse.watched():
                    report = await self._pull(items, lane)
                lane.finish(report)
        except Exception as error:
            lane.finish(self._typed(error))
        finally:
            lane.finish(EngineFailed("The model stopped in the middle of a chunk."))

    async def _pull(self, items: AsyncIterator[Samples | ChunkReport], lane: Lane) -> ChunkReport:
        while True:
            with self.computing, self._pulse:
                item = await anext(items, None)
            if isinstance(item, ChunkReport):
                return item
            if item is None or not np.isfinite(item).all():
                raise SynthesisFailed("The model gave bad samples.")
            if lane.produced + len(item) > self._bounds.longest_chunk:
                raise SynthesisFailed("The model did not stop speaking.")
            await lane.put(item)

    def _lead_s(self, lane: Lane) -> float:
        """Seconds until the listener needs the next sample of a chunk (read by the worker)."""
        ahead = 0.0
        for other in tuple(self._lanes):
            ahead += other.queued
            if other is lane:
                break
            ahead += other.missing
        return self._sent_lead_s() + ahead / self._heard_hz

    def _announce(self, item: Lane | SpeechError | None) -> None:
        self._announced.append(item)
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _typed(self, error: Exception) -> SpeechError:
        """What may be shown of an error; the rest stays in the log."""
        while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        request_id = self._first.request.request_id
        if isinstance(error, SpeechError):
            error.request_id = error.request_id or request_id
            return error
        _log.error("request %s failed", request_id, exc_info=error)
        return Internal("Something unexpected happened.", request_id=request_id)


def _placed(chunk: TextChunk, prepared: tuple[Prepared, ...], index: int) -> list[Segment]:
    """Number the segments of a text chunk and find each in its text."""
    segments: list[Segment] = []
    at = 0
    for nth, one in enumerate(prepared):
        last = nth == len(prepared) - 1
        start = max(at, chunk.text.find(one.text, at))
        at = len(chunk.text) if last else min(len(chunk.text), start + len(one.text))
        paused = replace(
            one,
            pause_before_ms=max(one.pause_before_ms, 0 if nth else chunk.pause_before_ms),
            pause_after_ms=max(one.pause_after_ms, chunk.pause_after_ms if last else 0),
        )
        segments.append(
            Segment(
                prepared=paused,
                index=index + nth,
                text_start=chunk.start + start,
                text_end=chunk.start + at,
                joins=not last,
                is_last=last and chunk.is_last,
            )
        )
    return segments


@asynccontextmanager
async def _closing(iterator: AsyncIterator[_ItemT]) -> AsyncIterator[AsyncIterator[_ItemT]]:
    """Close an iterator that can be closed."""
    try:
        yield iterator
    finally:
        if (close := getattr(iterator, "aclose", None)) is not None:
            await close()
