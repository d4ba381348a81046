"""``scripts/bench cancel``: how fast the embedded checkpoint stops, and that it really stops.

The server runs in this process behind a real socket, so that its worker and its engine can be
looked at. A context is cancelled at a random moment; from its ``cancelled`` on there must be no
audio, no request in the engine and no item begun by the worker. Exit status 1 when a bar is
missed.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Annotated

import typer
from rich.console import Console
from websockets.asyncio.client import ClientConnection, connect

from bench.latency import TEXT
from indextts.device import choose_device, set_cpu_threads
from indextts.loading import build_model, load_checkpoint
from indextts.v2.model import IndexTTS2
from indextts.v2.voice import Voice
from server.app import create_app
from server.compose import shipped_speakers
from server.config import Settings
from server.service import SynthesisService
from server.transport import listen, make_server
from speakers.registry import Registry
from speakers.voices import VoiceCache
from streaming import wire
from streaming.pipeline import SpeechPipeline
from streaming.worker import DeviceWorker

LATEST_S = 1.6
"""Cancels come at random moments up to here: before, during and after the first chunk."""

QUIET_S = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What ``count`` cancels showed; times in milliseconds, the rest are counts of offences."""

    count: int
    p50_ms: float
    p95_ms: float
    max_ms: float
    late_audio: int
    left_in_engine: int
    late_items: int
    first_audio_ms: float
    first_audio_after_cancel_ms: float

    @property
    def first_audio_ratio(self) -> float:
        """First audio right after a cancel, against first audio after silence."""
        return self.first_audio_after_cancel_ms / self.first_audio_ms


@dataclass(slots=True, kw_only=True)
class Room:
    """A server with the embedded checkpoint and what it hides."""

    url: str
    model: IndexTTS2
    worker: DeviceWorker
    service: SynthesisService[Voice]


@dataclass(slots=True, kw_only=True)
class _Tally:
    cancel_ms: list[float] = field(default_factory=list)
    after_ms: list[float] = field(default_factory=list)
    fresh_ms: list[float] = field(default_factory=list)
    late_audio: int = 0
    left_in_engine: int = 0
    late_items: int = 0


@asynccontextmanager
async def nano_room() -> AsyncIterator[Room]:
    """The embedded checkpoint behind a real socket on a free port, warm."""
    set_cpu_threads(None)
    worker = DeviceWorker()
    model = build_model("nano", load_checkpoint("nano", device=choose_device("cpu")), worker)

    async def start() -> None:
        worker.start()
        await model.start()

    async def stop() -> None:
        await model.close()
        await worker.close()

    settings = Settings()
    service = SynthesisService(
        model=model,
        pipeline=SpeechPipeline(model),
        voices=VoiceCache(model),
        registry=Registry(shipped_speakers()),
        settings=settings,
        start=start,
        stop=stop,
    )
    listener = listen("127.0.0.1", 0, limits=settings.limits)
    server = make_server(
        create_app(service, settings),
        limits=settings.limits,
        head_timeout_s=settings.body_timeout_s,
        drain=lambda: service.drain(1.0),
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await service.warmed.wait()
    port = listener.getsockname()[1]
    try:
        url = f"ws://127.0.0.1:{port}/v1/audio/speech/stream"
        yield Room(url=url, model=model, worker=worker, service=service)
    finally:
        server.should_exit = True
        await serving


async def measure(room: Room, count: int, *, probes: int, seed: int = 1) -> Figures:
    """Cancel ``count`` times; ``probes`` times listen for the next context's first audio."""
    draw, tally = random.Random(seed), _Tally()
    async with connect(room.url, compression=None, max_size=None) as socket:
        await socket.recv()
        for index in range(count):
            await _cancel_once(socket, room, draw.uniform(0.0, LATEST_S), f"c{index}", tally)
            if index % max(1, count // probes) == 0:
                tally.after_ms.append(await _first_audio_ms(socket, f"a{index}"))
                await asyncio.sleep(0.3)
                tally.fresh_ms.append(await _first_audio_ms(socket, f"f{index}"))
                await asyncio.sleep(0.3)
    ordered = sorted(tally.cancel_ms)
    return Figures(
        count=count,
        p50_ms=statistics.median(ordered),
        p95_ms=ordered[int(0.95 * (len(ordered) - 1))],
        max_ms=ordered[-1],
        late_audio=tally.late_audio,
        left_in_engine=tally.left_in_engine,
        late_items=tally.late_items,
        first_audio_ms=statistics.median(tally.fresh_ms),
        first_audio_after_cancel_ms=statistics.median(tally.after_ms),
    )


async def _cancel_once(
    socket: ClientConnection, room: Room, delay_s: float, context: str, tally: _Tally
) -> None:
    await _say(socket, context)
    await asyncio.sleep(delay_s)
    began_s = time.monotonic()
    await _send(socket, wire.InputCancel(context_id=context))
    await _until(socket, wire.Cancelled)
    tally.cancel_ms.append((time.monotonic() - began_s) * 1000)
    tally.left_in_engine += len(room.model.engine.active)
    begun = room.worker.begun.total()
    try:
        async with asyncio.timeout(QUIET_S):
            while True:
                tally.late_audio += isinstance(await socket.recv(), bytes)
    except TimeoutError:
        tally.late_items += room.worker.begun.total() - begun


async def _first_audio_ms(socket: ClientConnection, context: str) -> float:
    """From the text to the first byte of a context, which is then cancelled."""
    began_s = time.monotonic()
    await _say(socket, context)
    while not isinstance(await socket.recv(), bytes):
        pass
    took_ms = (time.monotonic() - began_s) * 1000
    await _send(socket, wire.InputCancel(context_id=context))
    await _until(socket, wire.Cancelled)
    return took_ms


async def _say(socket: ClientConnection, context: str) -> None:
    await _send(socket, wire.InputText(text=TEXT, context_id=context))
    await _send(socket, wire.InputDone(context_id=context))


async def _send(socket: ClientConnection, message: wire.ClientMessage) -> None:
    await socket.send(wire.encode(message))


async def _until(socket: ClientConnection, kind: type[wire.ServerMessage]) -> None:
    """Read up to a message of this kind; raises ``RuntimeError`` when an error comes instead."""
    while True:
        data = await socket.recv()
        message = None if isinstance(data, bytes) else wire.decode_server(data)
        if isinstance(message, kind):
            return
        if isinstance(message, wire.Failure):
            raise RuntimeError(f"the server refused: {message.code}: {message.message}")


async def _run(count: int, probes: int) -> Figures:
    async with nano_room() as room:
        return await measure(room, count, probes=probes)


def main(
    count: Annotated[int, typer.Option(help="How many contexts to cancel.", min=1)] = 200,
    probes: Annotated[int, typer.Option(help="Contexts timed to their first audio.", min=1)] = 20,
) -> None:
    """Cancel many contexts at random moments through a real socket."""
    figures = asyncio.run(_run(count, probes))
    console = Console()
    console.print_json(json.dumps({**asdict(figures), "ratio": figures.first_audio_ratio}))
    offences = figures.late_audio + figures.left_in_engine + figures.late_items
    if figures.p95_ms > 100 or offences or figures.first_audio_ratio > 1.10:
        console.print("a bar is missed: p95 100 ms, no offence, ratio 1.10")
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
