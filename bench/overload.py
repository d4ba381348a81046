"""``scripts/bench overload``: more requests at once than the server has places and seats for.

Whoever gets no seat has to hear so at once, and the server has to stay responsive meanwhile. How
long a refusal took is read from the server's own log, from the request's head to the end of its
answer. Exit status 1 when a bar is missed.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from collections import Counter
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench.bars import Bar, bar_table
from bench.overhead import SERVER, percentile
from bench.serving import running_server

TEXT = (
    "This is an answer of an ordinary length, two sentences long. It takes about ten seconds to "
    "say all of it, and a server has to make them."
)
PROBED_EVERY_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What everybody got; milliseconds as the clients saw them."""

    statuses: dict[str, int]
    refused_max_ms: float
    without_retry_after: int
    healthz_p99_ms: float
    healthz_max_ms: float
    probes: int
    took_s: float


async def ask(port: int, path: str, body: dict[str, Any] | None = None) -> tuple[int, bytes, float]:
    """Status, head and milliseconds of one request on a connection of its own."""
    began_s = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        raw = json.dumps(body).encode() if body else b""
        method = "POST" if body else "GET"
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
        answer = await reader.readuntil(b"\r\n\r\n")
        await reader.read()
        return int(answer.split(b" ", 2)[1]), answer, (time.monotonic() - began_s) * 1000
    finally:
        writer.close()


async def offer(port: int, count: int) -> Answers:
    """Ask ``count`` times at once; another process asks for ``/healthz`` meanwhile."""
    body = {"model": "tts-1", "input": TEXT, "response_format": "pcm"}
    with Prober(port) as prober:
        began_s = time.monotonic()
        answers = await asyncio.gather(*(ask(port, "/v1/audio/speech", body) for _ in range(count)))
        took_s = time.monotonic() - began_s
    refused = [(head, took_ms) for status, head, took_ms in answers if status == 429]
    return Answers(
        statuses={str(k): v for k, v in sorted(Counter(status for status, *_ in answers).items())},
        refused_max_ms=max((took_ms for _, took_ms in refused), default=0.0),
        without_retry_after=sum(b"retry-after:" not in head.lower() for head, _ in refused),
        healthz_p99_ms=percentile(prober.found_ms, 0.99),
        healthz_max_ms=max(prober.found_ms),
        probes=len(prober.found_ms),
        took_s=took_s,
    )


class Prober:
    """Asks for ``/healthz`` at a steady rate, from a process of its own that nothing slows down."""

    def __init__(self, port: int) -> None:
        self.found_ms: list[float] = []
        self._ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_probe, args=(port, theirs), daemon=True)

    def __enter__(self) -> Prober:
        self._process.start()
        self._ours.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.send("enough")
        self.found_ms = self._ours.recv()
        self._process.join()


def _probe(port: int, pipe: Connection) -> None:
    async def probe() -> list[float]:
        asking: list[asyncio.Task[tuple[int, bytes, float]]] = []
        while not pipe.poll():
            asking.append(asyncio.create_task(ask(port, "/healthz")))
            await asyncio.sleep(PROBED_EVERY_S)
        return [took_ms for _, _, took_ms in await asyncio.gather(*asking)]

    pipe.send("ready")
    pipe.send(asyncio.run(probe()))


def refusals_ms(log: Path) -> list[float]:
    """How long the server took over each 429, by its own log."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line["ms"] for line in lines if line.get("status") == 429]


def measure(active: int, queued: int, offered: int, log: Path) -> tuple[list[Bar], dict[str, Any]]:
    """All bars, and the figures behind them."""
    limits = ("--active", str(active), "--queued", str(queued), "--log", str(log))
    with running_server(*limits, module=SERVER) as served:
        got = asyncio.run(offer(int(served.url.rpartition(":")[2]), offered))
    room = active + queued
    took_ms = refusals_ms(log)
    bars = [
        Bar(name="served", value=got.statuses.get("200", 0), limit=room, at_least=True),
        Bar(name="refused", value=got.statuses.get("429", 0), limit=offered - room, at_least=True),
        Bar(name="slowest refusal, ms", value=max(took_ms, default=0.0), limit=50.0),
        Bar(name="refusals without Retry-After", value=got.without_retry_after, limit=0),
        Bar(name="healthz p99, ms", value=got.healthz_p99_ms, limit=50.0),
    ]
    return bars, asdict(got)


def main(
    active: Annotated[int, typer.Option(help="Places.", min=1)] = 8,
    queued: Annotated[int, typer.Option(help="Seats.", min=0)] = 16,
    offered: Annotated[int, typer.Option(help="Requests at once.", min=1)] = 200,
    log: Annotated[Path, typer.Option(help="Where the server writes its log.")] = Path(
        "overload.log"
    ),
) -> None:
    """Offer more than fits, on this machine."""
    bars, figures = measure(active, queued, offered, log)
    console = Console()
    console.print(bar_table(f"{active} + {queued} places, {offered} offered", bars))
    console.print_json(json.dumps(figures))
    if not all(bar.ok for bar in bars):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
