"""``scripts/bench overhead``: what the server costs on top of the model.

The model is a tone after a programmed time, in a server of its own process. First audio is
measured one context after another; then many contexts speak at once, each made at a real-time
factor of 0.3, for listeners who start to play 200 ms after their first byte. Exit status 1 when a
bar is missed.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from websockets.asyncio.client import ClientConnection, connect

from bench.bars import Bar, bar_table
from bench.serving import Served, running_server
from client.metrics import Meter, Metrics
from streaming import wire

SERVER = "bench.tone_server"
RATE_HZ = 22_050
MODEL_MS = 100.0
WORDS = "One more word and another one go by as the kettle sings. "
CHARACTERS_PER_SECOND = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """What many listeners had at once; ``cpu`` is CPU-seconds of the server per second."""

    streams: int
    gaps: int
    longest_gap_ms: float
    first_audio_p99_ms: float
    audio_s: float
    took_s: float
    cpu: float


def percentile(values: list[float], share: float) -> float:
    """The smallest value that is not exceeded by this share of the others."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def listen(socket: ClientConnection, text: str, context: str) -> Metrics:
    """Speak a text in a context and hear it to its end."""
    meter = Meter()
    meter.ask(time.monotonic())
    await socket.send(wire.encode(wire.InputText(text=text, context_id=context)))
    await socket.send(wire.encode(wire.InputDone(context_id=context)))
    while True:
        data = await socket.recv()
        if isinstance(data, bytes):
            meter.hear(time.monotonic(), len(data) // 2, RATE_HZ)
        elif '"session.done"' in data:
            return meter.metrics()
        elif '"error"' in data:
            raise RuntimeError(f"the server refused: {data}")


def _connect(served: Served) -> connect:
    url = f"{served.url.replace('http', 'ws', 1)}/v1/audio/speech/stream"
    return connect(url, compression=None, max_size=None, max_queue=None)


async def first_audio(served: Served, count: int) -> list[float]:
    """Milliseconds to the first byte of short contexts, one after another."""
    found: list[float] = []
    async with _connect(served) as socket:
        await socket.recv()
        for index in range(count + 5):
            heard = await listen(socket, "Hello there.", f"c{index}")
            found.append(heard.first_audio_ms or 0.0)
            await asyncio.sleep(0.01)
    return found[5:]  # the first ones warm up


async def crowd(served: Served, streams: int, seconds: float) -> Crowd:
    """Many contexts at once, each of so many seconds of audio, begun over 300 ms."""
    length = int(seconds * CHARACTERS_PER_SECOND)
    text = (WORDS * (length // len(WORDS) + 1))[:length]

    async def one(index: int) -> Metrics:
        await asyncio.sleep(0.3 * index / streams)
        async with _connect(served) as socket:
            await socket.recv()
            return await listen(socket, text, "c")

    began_s, spent_s = time.monotonic(), _cpu_s(served.process)
    heard = await asyncio.gather(*(one(index) for index in range(streams)))
    took_s = time.monotonic() - began_s
    return Crowd(
        streams=streams,
        gaps=sum(each.gaps for each in heard),
        longest_gap_ms=max(each.longest_gap_ms for each in heard),
        first_audio_p99_ms=percentile([each.first_audio_ms or 0.0 for each in heard], 0.99),
        audio_s=sum(each.audio_s for each in heard),
        took_s=took_s,
        cpu=(_cpu_s(served.process) - spent_s) / took_s,
    )


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def measure(count: int, streams: int, seconds: float) -> tuple[list[Bar], dict[str, Any]]:
    """All bars, and the figures behind them."""
    arguments = ("--first-ms", str(MODEL_MS), "--rtf", "0.3", "--active", str(streams))
    with running_server(*arguments, module=SERVER) as served:
        first_ms = asyncio.run(first_audio(served, count))
        many = asyncio.run(crowd(served, streams, seconds))
    bars = [
        Bar(name="first audio p50, ms", value=statistics.median(first_ms), limit=105.0),
        Bar(name="first audio p99, ms", value=percentile(first_ms, 0.99), limit=130.0),
        Bar(name=f"underruns of {streams} streams", value=many.gaps, limit=0),
        Bar(name="CPU-seconds per second", value=many.cpu, limit=1.5),
    ]
    return bars, asdict(many)


def main(
    count: Annotated[int, typer.Option(help="Contexts timed to their first audio.", min=20)] = 300,
    streams: Annotated[int, typer.Option(help="Listeners at once.", min=1)] = 64,
    seconds: Annotated[float, typer.Option(help="Audio for each listener.", min=1)] = 30.0,
    output: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
) -> None:
    """Measure the server's own share, without a model, on this machine."""
    bars, figures = measure(count, streams, seconds)
    console = Console()
    console.print(bar_table("a model that takes 100 ms", bars))
    console.print_json(json.dumps(figures))
    if output is not None:
        output.write_text(json.dumps({"bars": [asdict(bar) for bar in bars], **figures}, indent=1))
    if not all(bar.ok for bar in bars):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
