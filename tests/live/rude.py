"""Clients without manners: WebSockets by hand, dropped in the middle of their speech.

Run as a program it opens sockets, says that they speak, and waits to be killed.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from typing import Any

PATH = "/v1/audio/speech/stream"
TEXT = "Hello there, this is the first sentence. And this one is the second, a bit longer one. "


def frame(data: bytes, opcode: int = 1) -> bytes:
    """A client's frame (RFC 6455, section 5.2), masked with zeros."""
    size = len(data)
    head = bytes([0x80 | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 2**16:
        head += bytes([0x80 | 126]) + struct.pack("!H", size)
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", size)
    return head + bytes(4) + data


def say(kind: str, **fields: Any) -> bytes:
    """A message of the protocol as a frame."""
    return frame(json.dumps({"type": kind, **fields}).encode())


async def speaking(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A socket whose text is being spoken."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**12)
    writer.write(
        f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    writer.write(say("input.text", text=TEXT * 20))
    await reader.readuntil(b"audio.start")
    return reader, writer


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _wait_to_be_killed(port: int, count: int) -> None:
    held = await asyncio.gather(*(speaking(port) for _ in range(count)))
    sys.stdout.write(f"{len(held)}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_wait_to_be_killed(int(sys.argv[1]), int(sys.argv[2])))
