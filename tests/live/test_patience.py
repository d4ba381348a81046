"""Who reads slowly is served, who asks for nothing is let go: raw HTTP on real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from pathlib import Path

import pytest

from tests.fakes import ToneScript
from tests.server.rooms import Room, make_room, serving

READ_BYTES_PER_S = 120_000
HEAD_S = 0.4


def port_of(room: Room) -> int:
    """Where it listens."""
    return int(room.url.rpartition(":")[2])


async def test_who_reads_as_fast_as_it_plays_is_not_stuck(tmp_path: Path) -> None:
    """Everything ten times as fast as an MP3 of 96 kbit/s and the default ``write_stall_s``."""
    script = ToneScript(runaway=frozenset({0}), slice_ms=1000.0)
    room = make_room(tmp_path, script, write_stall_s=2.0)
    async with serving(room):
        loop = asyncio.get_running_loop()
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
            raw.setblocking(False)
            await loop.sock_connect(raw, ("127.0.0.1", port_of(room)))
            body = json.dumps({"input": "For ever. ", "response_format": "pcm"})
            head = (
                f"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            await loop.sock_sendall(raw, (head + body).encode())
            read = 0
            began_s = time.monotonic()
            while (passed_s := time.monotonic() - began_s) < 6.0:
                due = int(passed_s * READ_BYTES_PER_S) - read
                if due > 0:
                    piece = await asyncio.wait_for(loop.sock_recv(raw, due), 5.0)
                    assert piece, f"cut off after {passed_s:.1f} s"
                    read += len(piece)
                await asyncio.sleep(0.02)
            assert room.model.live == 1, "it was given up"


@pytest.mark.parametrize("begun", [b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
async def test_who_asks_for_nothing_is_dropped(tmp_path: Path, begun: bytes) -> None:
    async with serving(make_room(tmp_path, body_timeout_s=HEAD_S)) as room:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(room))
        began_s = time.monotonic()
        writer.write(begun)
        assert await dropped(reader)
        assert time.monotonic() - began_s >= HEAD_S * 0.9
        writer.close()


async def test_a_second_request_has_no_more_time(tmp_path: Path) -> None:
    async with serving(make_room(tmp_path, body_timeout_s=HEAD_S)) as room:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(room))
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(3):  # whoever dribbles does not buy time
            writer.write(b"G")
            await asyncio.sleep(HEAD_S / 4)
        assert await dropped(reader)
        writer.close()


async def test_a_request_and_a_socket_outlive_the_wait(tmp_path: Path) -> None:
    script = ToneScript(delay_s={"slice": 0.1}, slice_ms=100.0)
    async with serving(make_room(tmp_path, script, body_timeout_s=HEAD_S)) as room:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(room))
        body = json.dumps({"input": "This takes longer than the wait for a head does."})
        head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        began_s = time.monotonic()
        writer.write((head + body).encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"\r\n0\r\n\r\n")
        assert time.monotonic() - began_s > HEAD_S
        writer.close()


async def dropped(reader: asyncio.StreamReader) -> bool:
    """Whether the connection ends soon; what it says before does not count."""
    async with asyncio.timeout(HEAD_S * 10):
        try:
            await reader.read()
        except ConnectionResetError:
            return True
    return True
