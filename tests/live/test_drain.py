"""SIGTERM to a real process with sixteen live streams."""

from __future__ import annotations

import asyncio
import signal
import statistics
import time
from pathlib import Path

import httpx
from websockets.asyncio.client import connect

from streaming import wire
from tests.live.peers import Talk
from tests.server.test_cli import child

STREAMS, TRIES = 16, 5
TEXT = "Hello there, this is a sentence. And this one is another, a bit longer one. " * 4

SIGNAL_SEEN_S = 0.15
"""uvicorn looks for signals ten times a second."""


async def speak(url: str, started: asyncio.Semaphore | None = None) -> tuple[bytes, int | None]:
    """The audio of the text, and what the socket was closed with if it was."""
    async with connect(url, max_queue=None) as socket:
        client = Talk(socket)
        await client.send("input.text", text=TEXT)
        await client.send("input.done")
        await client.until(bytes)
        code = None
        if started is None:
            await client.until(wire.SessionDone)
        else:
            started.release()
            code = await client.close_code()
        (done,) = client.all(wire.SessionDone)
        assert len(client.pcm) == 2 * done.total_samples
        return client.pcm, code


async def refused_ms(url: str) -> tuple[float, float]:
    """How long a newcomer waits for its 503, and for its 1012."""
    address = url.replace("ws", "http", 1).partition("/v1")[0]
    async with httpx.AsyncClient(base_url=address) as client:
        began_s = time.monotonic()
        answer = await client.post("/v1/audio/speech", json={"input": "Hello."})
        http_ms = (time.monotonic() - began_s) * 1000
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
        assert int(answer.headers["retry-after"]) >= 1
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
    began_s = time.monotonic()
    async with connect(url) as socket:
        newcomer = Talk(socket)
        await newcomer.error("draining")
        assert await newcomer.close_code() == 1012
    return http_ms, (time.monotonic() - began_s) * 1000


async def test_all_streams_finish_and_newcomers_hear_at_once(tmp_path: Path) -> None:
    places = ("--limits-active-requests", str(STREAMS))
    async with child(tmp_path, *places) as (process, url):
        undisturbed, _ = await speak(url)
        started = asyncio.Semaphore(0)
        live = [asyncio.create_task(speak(url, started)) for _ in range(STREAMS)]
        for _ in range(STREAMS):
            await started.acquire()
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(SIGNAL_SEEN_S)
        waits = [await refused_ms(url) for _ in range(TRIES)]
        assert not any(task.done() for task in live), "they were refused while others spoke"
        for kind in zip(*waits, strict=True):
            assert statistics.median(kind) <= 100.0
        spoken = await asyncio.gather(*live)
        assert [pcm == undisturbed for pcm, _ in spoken] == [True] * STREAMS
        assert {code for _, code in spoken} == {1012}
        assert await asyncio.wait_for(process.wait(), 20) == 0
