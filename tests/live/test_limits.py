"""Bad input, slow and silent clients: each is answered or let go, and the server goes on."""

from __future__ import annotations

import asyncio
import base64
import socket
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.asyncio.client import connect

from streaming import wire
from tests.fakes import ToneScript
from tests.live.peers import Talk, nothing_left, talk
from tests.live.talks import SLOW, TEXT, check_accounts
from tests.server.rooms import Room, eventually, make_room, serving

WRITE_BUFFER_BYTES = 2**16 + 2**13
"""Where asyncio tells the writer to wait, and a frame beyond it."""

KERNEL_BYTES = 6 * 2**20
"""More than Linux buffers for a socket."""


def narrow_socket(room: Room) -> socket.socket:
    """A connection whose peer can send little before somebody reads."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    raw.connect(("127.0.0.1", int(room.url.rpartition(":")[2])))
    return raw


async def test_a_stalled_reader_is_let_go(tmp_path: Path) -> None:
    script = ToneScript(runaway=frozenset({0}), slice_ms=1000.0)
    room = make_room(tmp_path, script, write_stall_s=0.4)

    async def stopped() -> bool:
        return room.model.live == 0

    async with serving(room), nothing_left(room):
        raw = narrow_socket(room)
        async with connect(room.socket_url, sock=raw, max_queue=1) as connection:
            client = Talk(connection)
            await client.send("session.config", sample_rate=48_000)
            await client.send("input.text", text=TEXT)
            await client.until(bytes)
            await eventually(stopped)
            assert await client.close_code() == 4413
            assert client.all(wire.Failure)[0].code == "stalled"


async def test_what_waits_for_a_stalled_reader_is_bounded(tmp_path: Path) -> None:
    script = ToneScript(runaway=frozenset({0}), slice_ms=1000.0)
    room = make_room(tmp_path, script, write_stall_s=2.0)
    async with serving(room):
        raw = narrow_socket(room)
        async with connect(room.socket_url, sock=raw, max_queue=1) as connection:
            client = Talk(connection)
            await client.send("session.config", sample_rate=48_000)
            await client.send("input.text", text=TEXT)
            await client.until(bytes)
            made: list[int] = []
            while room.model.live:
                assert room.server is not None
                for peer in room.server.server_state.connections:
                    assert peer.transport.get_write_buffer_size() <= WRITE_BUFFER_BYTES
                made.append(len(room.model.log))
                await asyncio.sleep(0.05)
            assert made[-1] == made[len(made) // 2], "the model is not held back"
            unsent_s = room.service.settings.limits.unsent_audio_s
            assert made[-1] <= unsent_s + KERNEL_BYTES / 96_000 + 5


async def test_a_slow_reader_gets_everything(slow_room: Room) -> None:
    async with talk(slow_room) as client:
        await client.send("input.text", text=TEXT)
        await client.send("input.done")
        while True:
            if isinstance(await client.next(), wire.SessionDone):
                break
            await asyncio.sleep(0.01)
        assert len(client.pcm) == 2 * check_accounts(client).total_samples


async def test_pacing_holds_the_server_back(room: Room) -> None:
    async with talk(room, max_lead_s=0.2) as client:
        started_s = time.monotonic()
        await client.send("input.text", text="Hello there, this is for you.")
        await client.send("input.done")
        end = await client.until(wire.SessionDone)
        duration_s = end.total_samples / 22_050
        assert time.monotonic() - started_s > duration_s - 0.35


async def test_an_idle_client_is_told(tmp_path: Path) -> None:
    room = make_room(tmp_path, idle_s=0.2)
    async with serving(room), nothing_left(room), talk(room) as client:
        await client.error("idle")
        assert await client.close_code() == 4408


async def test_an_old_session_ends(tmp_path: Path) -> None:
    room = make_room(tmp_path, session_s=0.2, idle_s=1.0)
    async with serving(room), talk(room) as client:
        warning = await client.until(wire.Warn)
        assert warning.code == "session_expired"
        assert await client.close_code() == 1000


BAD: list[tuple[dict[str, Any] | str | bytes, str, bool]] = [
    ("{", "bad_message", False),
    ("[" * 50_000, "bad_message", False),
    (b"\x00\x01", "bad_message", False),
    ({"type": "input.song"}, "bad_message", False),
    ({"type": "session.config", "speed": 50}, "bad_config", False),
    ({"type": "session.config", "timestamps": "always"}, "bad_config", False),
    ({"type": "session.config", "resume_token": "x"}, "resume_expired", False),
    ({"type": "session.config", "format": "m4a"}, "unsupported_format", False),
    ({"type": "session.config", "sample_rate": 7}, "unsupported_format", False),
    ({"type": "input.text", "text": "\ud800 x"}, "invalid_text", True),
    ({"type": "input.text", "text": "a\u0000"}, "invalid_text", True),
    ({"type": "input.text", "text": "x" * 1_000_000}, "text_too_long", True),
    ({"type": "input.text", "text": "x", "voice": "nobody"}, "unknown_voice", True),
    ({"type": "input.text", "text": "x", "voice": "broken"}, "unknown_voice", True),
    (
        {"type": "input.text", "text": "x", "emotion": {"reference": "/etc/passwd"}},
        "reference_refused",
        True,
    ),
    (
        {
            "type": "input.text",
            "text": "x",
            "emotion": {"reference": base64.b64encode(bytes(400)).decode()},
        },
        "bad_recording",
        True,
    ),
]


@pytest.mark.parametrize(("message", "code", "ends"), BAD, ids=[str(b[0])[:60] for b in BAD])
async def test_bad_input_is_answered_and_the_next_text_works(
    room: Room, message: dict[str, Any] | str | bytes, code: str, ends: bool
) -> None:
    async def complain(client: Talk) -> wire.Failure:
        if isinstance(message, dict):
            await client.send(**{"kind": message["type"], **message})
        else:
            await client.socket.send(message)
        if code == "bad_recording":
            await client.send("input.flush")  # it is decoded when there is something to say
        return await client.error(code)

    if code == "bad_recording":
        async with talk(room) as client:
            await complain(client)  # the process that decodes stays
    async with nothing_left(room), talk(room) as client:
        failure = await complain(client)
        assert (failure.context_id == "default") is ends
        assert failure.request_id
        await client.send("input.text", text="Still here.")
        await client.send("input.done")
        end = await client.until(wire.SessionDone)
        assert end.total_samples > 0


async def test_the_third_bad_message_closes(room: Room) -> None:
    async with talk(room) as client:
        for _ in range(3):
            await client.socket.send("nonsense")
        assert await client.close_code() == 1008
        assert [m.code for m in client.all(wire.Failure)] == ["bad_message"] * 3


async def test_an_oversized_frame_closes(room: Room) -> None:
    async with nothing_left(room), talk(room) as client:
        await client.socket.send("x" * (3 * 2**20 + 1))
        assert await client.close_code() == 1009


async def test_overload_closes(tmp_path: Path) -> None:
    room = make_room(tmp_path, SLOW, active_requests=1, queued_requests=0)
    async with serving(room), talk(room) as first, talk(room) as second:
        await first.send("input.text", text=TEXT)
        await first.until(wire.AudioStart)
        await second.send("input.text", text=TEXT)
        failure = await second.error("overloaded")
        assert failure.retry_after_s == 2.0
        assert await second.close_code() == 4429
        await first.send("input.done")
        await first.until(wire.SessionDone)


async def test_too_many_sessions(tmp_path: Path) -> None:
    async with serving(make_room(tmp_path, sessions=1)) as room, talk(room), talk(room) as second:
        await second.error("overloaded")
        assert await second.close_code() == 4429


async def test_a_flood_of_pings_is_answered_without_growing(room: Room) -> None:
    async with talk(room) as client:
        for _ in range(500):
            await client.send("ping")
        for _ in range(500):
            assert isinstance(await client.next(), wire.Pong)


async def test_memory_comes_back(room: Room) -> None:
    async def one() -> None:
        async with talk(room) as client:
            await client.send("input.text", text=TEXT * 5)
            await client.until(bytes)

    for _ in range(10):
        await one()
    before = psutil.Process().memory_info().rss
    async with nothing_left(room):
        for _ in range(40):
            await one()
    assert psutil.Process().memory_info().rss - before < 20 * 2**20


async def test_open_contexts_that_wait_for_text_hold_no_place(tmp_path: Path) -> None:
    room = make_room(tmp_path, active_requests=1, queued_requests=0)
    async with serving(room), talk(room) as waiting, talk(room) as spoke, talk(room) as client:
        await waiting.send("input.text", text="An open")
        await spoke.send("input.text", text="Good morning.")
        await spoke.send("input.flush")
        await spoke.until(wire.AudioDone)
        assert room.service.admission.active == 1
        await eventually(lambda: asyncio.sleep(0, room.service.admission.active == 0))
        await client.send("input.text", text="Hello there.")
        await client.send("input.done")
        await client.until(wire.SessionDone)
        await eventually(lambda: asyncio.sleep(0, room.service.admission.active == 0))
        for late in (waiting, spoke):
            await late.send("input.text", text=" And the end.")
            await late.send("input.done")
            assert (await late.until(wire.SessionDone)).total_samples > 0
