"""``scripts/bench frames``: thousands of made-up WebSocket frames against a running server.

Every refusal has to be one that is documented, no socket may hang, and nothing may be ``internal``
(close code 1011). The frames depend on the seed alone. Exit status 1 when a bar is missed.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from bench.bars import Bar, bar_table
from bench.overhead import SERVER
from bench.serving import running_server
from server.errors import ANSWERS
from streaming import wire
from streaming.fields import FIELDS

ANSWER_S = 20.0
"""A socket that says nothing for so long hangs."""

FRAMES_PER_SOCKET = 50
DOCUMENTED = {answer.close for answer in ANSWERS.values()} - {1011, None} | {1000}

_TYPES = ("input.text", "input.flush", "input.done", "input.cancel", "session.config", "ping")
_IDS = ("a", "b", "default", "", "x" * 129, "\n", 7, None, "\u2028", "héllo")
_TEXTS = (
    "Hello there. ",
    "One, two, three! ",
    "你好，世界。",
    "[pause:20ms] Hi. ",
    "[pause:",
    '<break time="10ms"/>',
    "\ud83d",
    "\ude00",
    "\x00",
    "",
    " ",
    "a" * 300,
    "1234567890 " * 20,
    "((([[[{{{",
    "ni3 hao3 ",
)
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**63, 1e308, -0.5, "", "x", "tagged", "base64", "word", "vtt"),
    *([], {}, [1], {"a": 1}, {"a": "b"}, {"vector": [0] * 8}, {"vector": [2]}, {"text": "sad"}),
    *({"seed": 3}, {"seed": "3"}, {"top_p": 0}, {"gap_ms": 50}, {"flush_after_ms": 50}, "anna"),
    *("mp3", "wav", "pcm", 8_000, 48_000, 22_050, "zh", "en-US", {"reference": "../x"}, {"a": 0}),
)
_NAMES = (*FIELDS, "resume", "resume_token", "next_sample", "played_samples", "unknown")


def made_up(chance: random.Random) -> str | bytes:
    """A frame: most are messages, some with odd fields, few are no messages at all."""
    kind = chance.random()
    if kind < 0.02:
        return chance.randbytes(chance.randrange(40))
    message: dict[str, Any] = {"type": chance.choice(_TYPES)}
    if chance.random() < 0.7:
        message["context_id"] = chance.choice(_IDS[:3] if chance.random() < 0.8 else _IDS)
    if message["type"] == "input.text" or chance.random() < 0.05:
        message["text"] = chance.choice(_TEXTS)
    if kind < 0.4:
        for name in chance.sample(_NAMES, chance.randrange(1, 4)):
            message[name] = chance.choice(_ODD)
    text = json.dumps(message)
    if kind < 0.05:
        at = chance.randrange(len(text))
        return text[:at] + chance.choice('{}[]",:\\ \x01e9') * chance.randrange(1, 4) + text[at:]
    return text if kind < 0.98 else json.dumps(chance.choice(_ODD))


def sessions(seed: int, frames: int) -> Iterator[list[str | bytes]]:
    """The frames of one socket after another."""
    chance = random.Random(seed)
    while frames > 0:
        count = min(frames, chance.randrange(1, FRAMES_PER_SOCKET))
        frames -= count
        yield [made_up(chance) for _ in range(count)]


class Findings:
    """What came back."""

    def __init__(self) -> None:
        self.frames = 0
        self.codes: Counter[str] = Counter()
        self.closes: Counter[int] = Counter()
        self.broken: list[str] = []

    def note(self, data: str | bytes) -> None:
        """A message of the server; raises ``BadMessage`` when it is none."""
        message = wire.decode_server(data) if isinstance(data, str) else None
        if isinstance(message, wire.Failure):
            self.codes[message.code] += 1
            if message.code not in ANSWERS or message.code == "internal":
                self.broken.append(f"error {message.code}: {message.message}")

    def closed(self, code: int | None) -> None:
        """The socket ended."""
        self.closes[code or 0] += 1
        if code not in DOCUMENTED:
            self.broken.append(f"closed with {code}")


async def converse(url: str, frames: list[str | bytes], findings: Findings) -> int:
    """Send frames, then close; the server has to answer in time. Gives how many it took."""
    sent = 0
    async with connect(url, max_queue=None, max_size=2**24, ping_interval=None) as socket:
        hearing = asyncio.create_task(_hear(socket, findings))
        try:
            async with asyncio.timeout(ANSWER_S):
                for frame in frames:
                    sent += 1
                    await socket.send(frame)
                for context_id in _IDS[:3] if len(frames) % 2 else ():
                    await socket.send(wire.encode(wire.InputCancel(context_id=str(context_id))))
                await socket.send(wire.encode(wire.SessionClose()))
                await hearing
        except ConnectionClosed:
            await hearing
        except TimeoutError:
            findings.broken.append(f"a socket hung after {frames[-3:]}"[:300])
        finally:
            hearing.cancel()
    return sent


async def _hear(socket: ClientConnection, findings: Findings) -> None:
    try:
        while True:
            findings.note(await socket.recv())
    except ConnectionClosed as closed:
        findings.closed(closed.rcvd.code if closed.rcvd else None)


async def bombard(url: str, *, seed: int, frames: int, at_once: int) -> Findings:
    """All frames, over some sockets at a time."""
    findings, waiting = Findings(), sessions(seed, frames)

    async def work() -> None:
        for one in waiting:
            while one:  # a socket that was closed does not take the rest
                sent = await converse(url, one, findings)
                findings.frames += sent
                one = one[max(1, sent) :]

    await asyncio.gather(*(work() for _ in range(at_once)))
    return findings


def main(
    frames: Annotated[int, typer.Option(help="Frames to send.", min=1)] = 10_000,
    seed: Annotated[int, typer.Option(help="What the frames depend on.")] = 1,
    at_once: Annotated[int, typer.Option(help="Sockets at a time.", min=1)] = 8,
) -> None:
    """Bombard a server around the tone model."""
    quick = ("--first-ms", "1", "--rtf", "0.001", "--active", "16", "--queued", "16")
    with running_server(*quick, module=SERVER) as served:
        url = served.url.replace("http", "ws", 1) + "/v1/audio/speech/stream"
        found = asyncio.run(bombard(url, seed=seed, frames=frames, at_once=at_once))
    bars = [
        Bar(name="frames", value=found.frames, limit=frames, at_least=True),
        Bar(name="undocumented answers and hung sockets", value=len(found.broken), limit=0),
    ]
    console = Console()
    console.print(bar_table(f"{frames} frames, seed {seed}", bars))
    figures = {"errors": found.codes, "closed": found.closes, "broken": found.broken[:20]}
    console.print_json(json.dumps(figures))
    if not all(bar.ok for bar in bars):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
