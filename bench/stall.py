"""``scripts/bench stall``: one client stops reading; the others must not notice.

Listeners take frames that are paced to real time; their gaps are compared with and without a client
that asks for much and reads nothing. Exit status 1 when a bar is missed.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from bench.bars import Bar, bar_table
from bench.overhead import SERVER, percentile
from bench.serving import Served, running_server

TEXT = "Hello there, this is a sentence of some seconds, and here comes another one. "
LEAD_S = 0.2
ASLEEP_S = 25.0
"""Longer than the server waits, shorter than until it drops the connection."""

CLOSED_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalled:
    """What became of the client that read nothing."""

    close_code: int | None
    after_s: float


async def gaps_ms(url: str, seconds: float) -> list[float]:
    """Milliseconds between the frames of a listener whose speech is paced to real time."""
    found: list[float] = []
    async with connect(url, max_queue=None, ping_interval=None) as listener:
        await listener.send(json.dumps({"type": "session.config", "max_lead_s": LEAD_S}))
        await listener.send(json.dumps({"type": "input.text", "text": TEXT * 100}))
        until_s, last_s = time.monotonic() + seconds, 0.0
        while (now_s := time.monotonic()) < until_s:
            if isinstance(await listener.recv(), bytes):
                now_s = time.monotonic()
                found += [(now_s - last_s) * 1000] if last_s else []
                last_s = now_s
    return found


async def stall(url: str) -> Stalled:
    """Ask for much, read one frame and nothing more until the server gives up."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    raw.connect(("127.0.0.1", int(url.split(":")[2].split("/")[0])))
    async with connect(url, sock=raw, max_queue=1, ping_interval=None) as client:
        await client.send(json.dumps({"type": "session.config", "sample_rate": 48_000}))
        await client.send(json.dumps({"type": "input.text", "text": TEXT * 200}))
        while not isinstance(await client.recv(), bytes):
            pass
        began_s = time.monotonic()
        await asyncio.sleep(ASLEEP_S)
        try:
            async with asyncio.timeout(CLOSED_S):
                while True:
                    await client.recv()
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else None
            return Stalled(close_code=code, after_s=time.monotonic() - began_s)


async def compare(served: Served, listeners: int, seconds: float) -> dict[str, Any]:
    """The others' gaps without and with somebody who stalls."""
    url = served.url.replace("http", "ws", 1) + "/v1/audio/speech/stream"

    async def listen() -> list[float]:
        each = await asyncio.gather(*(gaps_ms(url, seconds) for _ in range(listeners)))
        return [gap for one in each for gap in one]

    await listen()  # warm
    alone = await listen()
    before = served.memory_bytes()
    stalling = asyncio.create_task(stall(url))
    await asyncio.sleep(1)
    beside = await listen()
    grown = served.memory_bytes() - before
    stalled = await stalling
    return {
        "alone_p95_ms": percentile(alone, 0.95),
        "beside_p95_ms": percentile(beside, 0.95),
        "frames": len(alone) + len(beside),
        "memory_grown_mib": grown / 2**20,
        "close_code": stalled.close_code,
        "closed_after_s": stalled.after_s,
    }


def main(
    listeners: Annotated[int, typer.Option(help="Others, who read.", min=1)] = 8,
    seconds: Annotated[float, typer.Option(help="How long they listen, each time.")] = 10.0,
) -> None:
    """Stall beside listeners, on this machine."""
    with running_server("--first-ms", "20", "--rtf", "0.05", module=SERVER) as served:
        found = asyncio.run(compare(served, listeners, seconds))
    bars = [
        Bar(
            name="gaps change, p95, ms",
            value=found["beside_p95_ms"] - found["alone_p95_ms"],
            limit=10.0,
        ),
        Bar(name="memory grown, MiB", value=found["memory_grown_mib"], limit=32.0),
        Bar(name="closed with 4413", value=found["close_code"] == 4413, limit=1, at_least=True),
    ]
    console = Console()
    console.print(bar_table(f"one stalls beside {listeners} listeners", bars))
    console.print_json(json.dumps(found))
    if not all(bar.ok for bar in bars):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
