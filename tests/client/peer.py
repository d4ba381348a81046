"""A small speech server on a real socket: as slow, rude or broken as a test wants it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from streaming import wire

RATE_HZ = 22_050
FRAME_SAMPLES = 2_205

VOICES = {
    "voices": [
        {"id": "anna", "name": "anna", "language": "en", "description": "warm [bold]voice"},
        {"id": "bert", "name": "bert", "unavailable": "bert.wav: the recording is empty"},
    ]
}

Script = Callable[["Peer", ServerConnection, dict[str, Any]], Awaitable[bool]]
"""Sees every message first; True when it has dealt with it."""


@dataclass
class Peer:
    """How the peer behaves and what it was sent."""

    frames: int = 5
    delay_s: float = 0.0
    endless: bool = False
    ready_after: int = 0
    script: Script | None = None
    greeting: list[str | bytes] | None = None
    received: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""
    asked_ready: int = 0
    contexts: int = 0
    _speaking: list[asyncio.Task[None]] = field(default_factory=list)

    def types(self) -> list[str]:
        """The types of what was received, pings left out."""
        return [message["type"] for message in self.received if message["type"] != "ping"]

    def text(self) -> str:
        """All text that was received."""
        return "".join(message.get("text", "") for message in self.received)

    async def handle(self, socket: ServerConnection) -> None:
        """One connection."""
        try:
            for message in self.greeting or [greeting()]:
                await socket.send(message)
            async with asyncio.TaskGroup() as group:
                async for data in socket:
                    await self._message(socket, json.loads(data), group)
                for task in self._speaking:
                    task.cancel()
        except ConnectionClosed:
            pass

    async def _message(
        self, socket: ServerConnection, message: dict[str, Any], group: asyncio.TaskGroup
    ) -> None:
        self.received.append(message)
        if self.script is not None and await self.script(self, socket, message):
            return
        context_id = message.get("context_id", "default")
        match message["type"]:
            case "ping":
                await socket.send(wire.encode(wire.Pong()))
            case "input.done":
                self._speaking.append(group.create_task(self.speak(socket, context_id)))
            case "input.cancel":
                for task in self._speaking:
                    task.cancel()
                await asyncio.sleep(0)
                await socket.send(
                    wire.encode(
                        wire.Cancelled(context_id=context_id, sent_samples=7, heard_text_end=3)
                    )
                )

    async def speak(self, socket: ServerConnection, context_id: str) -> None:
        """One chunk of a ramp, then the end of the context."""
        number, sample = self.contexts, 0
        self.contexts += 1
        try:
            await socket.send(start(context_id, number))
            for sequence in range(10**9 if self.endless else self.frames):
                await asyncio.sleep(self.delay_s)
                await socket.send(wire.tag(number, sequence, sample, ramp(sample)))
                sample += FRAME_SAMPLES
            await socket.send(
                wire.encode(
                    wire.AudioDone(
                        context_id=context_id,
                        sentence_index=0,
                        samples=sample,
                        total_bytes=2 * sample,
                        duration_ms=sample / RATE_HZ * 1000,
                    )
                )
            )
            await socket.send(done(context_id, sample))
        except ConnectionClosed:
            return

    def answer(self, _: ServerConnection, request: Request) -> Response | None:
        """Plain HTTP on the same port: readiness and voices."""
        if request.path.endswith("/readyz"):
            self.asked_ready += 1
            return _http(200 if self.asked_ready > self.ready_after else 503, {})
        if request.path.endswith("/v1/audio/voices"):
            return _http(200, VOICES)
        return _http(404, {}) if "nowhere" in request.path else None


def greeting() -> str:
    """The first message of a session."""
    return wire.encode(
        wire.SessionCreated(
            session_id="s", model="tone", version="1", limits={"message_characters": 50}
        )
    )


def start(context_id: str, number: int) -> str:
    """The beginning of a chunk."""
    return wire.encode(
        wire.AudioStart(
            context_id=context_id,
            utterance_index=number,
            sentence_index=0,
            sentence_text="hello",
            normalized_text="hello",
            format="pcm",
            sample_rate=RATE_HZ,
            channels=1,
            first_sample=0,
        )
    )


def done(context_id: str, samples: int) -> str:
    """The end of a context."""
    return wire.encode(
        wire.SessionDone(
            context_id=context_id,
            total_sentences=1,
            total_samples=samples,
            characters_in=5,
            characters_spoken=5,
            timings={"rtf": 0.25},
        )
    )


def failure(code: str, context_id: str | None = None, **more: Any) -> str:
    """A refusal."""
    return wire.encode(
        wire.Failure(
            code=code, message=f"it is {code}", request_id="r", context_id=context_id, **more
        )
    )


def ramp(first_sample: int, samples: int = FRAME_SAMPLES) -> bytes:
    """Samples that tell their own position."""
    return ((np.arange(samples) + first_sample) % 32_768).astype("<i2").tobytes()


@asynccontextmanager
async def serving(peer: Peer) -> AsyncIterator[Peer]:
    """The peer on a free port of this machine."""
    async with serve(peer.handle, "127.0.0.1", 0, process_request=peer.answer) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        peer.url = f"http://127.0.0.1:{port}"
        yield peer


@contextmanager
def serving_thread(peer: Peer) -> Iterator[Peer]:
    """The same in a thread, for clients that run their own event loop."""
    up, loop = threading.Event(), asyncio.new_event_loop()
    down = asyncio.Event()

    async def run() -> None:
        async with serving(peer):
            up.set()
            await down.wait()

    def work() -> None:
        try:
            loop.run_until_complete(run())
        finally:
            loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert up.wait(10)
        yield peer
    finally:
        loop.call_soon_threadsafe(down.set)
        thread.join(10)


def _http(status: int, body: object) -> Response:
    data = json.dumps(body).encode()
    headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(data))})
    headers["Connection"] = "close"
    return Response(status, "OK", headers, data)
