"""``scripts/bench overload``: more requests at once than the server has places and seats for.

Whoever gets no seat has to hear so at once, and the server has to stay responsive meanwhile. How
long a refusal took is read from the server's own log, from the request's head to the end of its
answer. Exit status 1 when a bar is missed.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench.bars import Bar, bar_table
from bench.overhead import SERVER, percentile
from bench.serving import running_server

TEXT = "Hello there, this is a sentence of three seconds."
PROBED_EVERY_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What everybody got; milliseconds as the clients saw them."""

    statuses: dict[str, int]
    refused_max_ms: float
    without_retry_after: int
    healthz_p99_ms: float
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
    """Ask ``count`` times at once, and for ``/healthz`` until the last one is answered."""
    body = {"model": "tts-1", "input": TEXT, "response_format": "pcm"}
    began_s = time.monotonic()
    asking = [asyncio.create_task(ask(port, "/v1/audio/speech", body)) for _ in range(count)]
    waiting = asyncio.gather(*asking)
    healthy: list[float] = []
    while not waiting.done():
        healthy.append((await ask(port, "/healthz"))[2])
        await asyncio.sleep(PROBED_EVERY_S)
    answers = await waiting
    refused = [(head, took_ms) for status, head, took_ms in answers if status == 429]
    return Answers(
        statuses={str(k): v for k, v in sorted(Counter(status for status, *_ in answers).items())},
        refused_max_ms=max((took_ms for _, took_ms in refused), default=0.0),
        without_retry_after=sum(b"retry-after:" not in head.lower() for head, _ in refused),
        healthz_p99_ms=percentile(healthy, 0.99),
        probes=len(healthy),
        took_s=time.monotonic() - began_s,
    )


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
