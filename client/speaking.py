"""One piece of speech from text to ear: feeds a context, and records, plays and measures it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from client.connection import Audio, Connection, Context
from client.metrics import Meter, Metrics
from client.playback import Output, Player
from client.recording import WavWriter
from streaming.wire import AudioStart, Cancelled, SessionDone, Warn

CANCEL_S = 5.0
"""How long the server's word on a cancelled context is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Text to send; ``flush`` has it spoken without waiting for more."""

    text: str
    flush: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sinks:
    """Where the speech goes; ``stop`` is set when the listener has heard enough."""

    target: Path | BinaryIO | None = None
    output: Output | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of it; ``cancelled`` when the listener stopped it, speaking or playing.

    ``heard_text_end`` is known for speech that was cancelled while it was spoken and played.
    """

    metrics: Metrics
    sample_rate_hz: int | None
    samples: int
    chunks: int
    warnings: tuple[str, ...]
    cancelled: bool
    heard_text_end: int | None
    underruns: int | None
    server: dict[str, object]


class _Listener:
    """Takes a context's events to the sinks and remembers what a report needs."""

    def __init__(self, sinks: Sinks, meter: Meter) -> None:
        self._sinks = sinks
        self._meter = meter
        self._wav: WavWriter | None = None
        self._warnings: list[str] = []
        self._chunks = 0
        self._samples = 0
        self._rate_hz: int | None = None
        self.player: Player | None = None

    async def hear(self, audio: Audio) -> None:
        """Record, measure and play; a stopped listener still records what had arrived."""
        if self._rate_hz is None:
            self._open(audio.sample_rate_hz)
        self._meter.hear(audio.received_s, audio.samples, audio.sample_rate_hz)
        self._samples += audio.samples
        if self._wav is not None:
            self._wav.write(audio.pcm)
        if self.player is not None and not self._sinks.stop.is_set():
            await self.player.play(audio.pcm)

    def note(self, event: AudioStart | Warn) -> None:
        """Remember a chunk or a warning."""
        if isinstance(event, Warn):
            self._warnings.append(f"{event.code}: {event.message}")
        else:
            self._chunks += 1

    async def finish(self, last: SessionDone | Cancelled) -> Report:
        """Complete the file, play to the end (of speech that was not cancelled), report."""
        if self._wav is not None:
            self._wav.close()
        if self.player is not None and isinstance(last, SessionDone):
            finishing = asyncio.create_task(self.player.finish(), name="play to the end")
            stopping = asyncio.create_task(self._sinks.stop.wait(), name="wait for stop")
            await _first_of(finishing, stopping)
        stopped = False
        if self.player is not None:
            self.player.stop()
            stopped = self._sinks.stop.is_set()
        cancelled = last if isinstance(last, Cancelled) else None
        return Report(
            metrics=self._meter.metrics(),
            sample_rate_hz=self._rate_hz,
            samples=self._samples,
            chunks=self._chunks,
            warnings=tuple(self._warnings),
            cancelled=stopped or cancelled is not None,
            heard_text_end=cancelled.heard_text_end if cancelled is not None else None,
            underruns=self.player.underruns if self.player is not None else None,
            server=dict(last.timings) if isinstance(last, SessionDone) else {},
        )

    def abandon(self) -> None:
        """Something failed: leave no half file, be quiet."""
        if self._wav is not None:
            self._wav.abort()
        if self.player is not None:
            self.player.stop()

    def _open(self, sample_rate_hz: int) -> None:
        self._rate_hz = sample_rate_hz
        if self._sinks.target is not None:
            self._wav = WavWriter(self._sinks.target, sample_rate_hz=sample_rate_hz)
        if self._sinks.output is not None:
            self.player = Player(self._sinks.output, sample_rate_hz=sample_rate_hz)


async def speak(connection: Connection, pieces: AsyncIterator[Piece], sinks: Sinks) -> Report:
    """Send ``pieces`` as they come and take the speech to its sinks until it ends or is stopped.

    Raises what the context raises, what ``pieces`` raise, and ``OSError`` of the file.
    """
    context, meter = connection.context(), Meter()
    listener = _Listener(sinks, meter)
    try:
        async with asyncio.TaskGroup() as group:
            feeder = group.create_task(_feed(context, pieces, meter), name="send text")
            stopper = group.create_task(
                _cancel_when_stopped(context, listener, sinks.stop, feeder), name="wait for stop"
            )
            last = await _listen(context, listener)
            feeder.cancel()
            stopper.cancel()
        return await listener.finish(last)
    except BaseExceptionGroup as group_error:
        listener.abandon()
        raise group_error.exceptions[0] from None
    except BaseException:
        listener.abandon()
        raise


async def _listen(context: Context, listener: _Listener) -> SessionDone | Cancelled:
    async for event in context:
        match event:
            case Audio():
                await listener.hear(event)
            case AudioStart() | Warn():
                listener.note(event)
            case SessionDone() | Cancelled():
                return event
    raise AssertionError("a context ends with one of its two last events")


async def _feed(context: Context, pieces: AsyncIterator[Piece], meter: Meter) -> None:
    async for piece in pieces:
        if piece.text:
            meter.ask(time.monotonic())
            await context.send(piece.text)
        if piece.flush:
            await context.flush()
    await context.done()


async def _cancel_when_stopped(
    context: Context, listener: _Listener, stop: asyncio.Event, feeder: asyncio.Task[None]
) -> None:
    """Barge-in: be quiet first, then tell the server how far it was heard."""
    await stop.wait()
    feeder.cancel()
    played = None
    if listener.player is not None:
        played = listener.player.played_samples
        listener.player.stop()
    await context.cancel(played_samples=played)
    await asyncio.sleep(CANCEL_S)
    raise TimeoutError("the server did not answer the cancel")


async def _first_of(*tasks: asyncio.Task[object]) -> None:
    """Wait for one of the tasks and end the others; raises what it raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in done:
        task.result()
