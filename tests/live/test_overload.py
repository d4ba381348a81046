"""Two hundred requests at once for eight places and sixteen seats."""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.overload import ask
from streaming import wire
from tests.fakes import ToneScript
from tests.live.peers import Talk, nothing_left, talk
from tests.live.talks import TEXT
from tests.server.rooms import Room, eventually, make_room, serving

ACTIVE, QUEUED, OFFERED = 8, 16, 200


async def test_who_finds_no_seat_hears_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script = ToneScript(delay_s={"codes": 1.0}, characters_per_second=60.0)
    room = make_room(tmp_path, script, active_requests=ACTIVE, queued_requests=QUEUED)
    body: dict[str, Any] = {"input": "Hello there.", "response_format": "pcm"}
    caplog.set_level(logging.INFO, "server.access")
    async with serving(room), nothing_left(room):
        port = int(room.url.rpartition(":")[2])
        began_s = time.monotonic()
        asking = [asyncio.create_task(ask(port, "/v1/audio/speech", body)) for _ in range(OFFERED)]
        healthy = []
        while not all(task.done() for task in asking):
            healthy.append((await ask(port, "/healthz"))[0])
        answers = [task.result() for task in asking]
        assert Counter(status for status, *_ in answers) == {
            200: ACTIVE + QUEUED,
            429: OFFERED - ACTIVE - QUEUED,
        }
        assert all(b"retry-after: " in head for status, head, _ in answers if status == 429)
        assert time.monotonic() - began_s >= 3.0, "three rounds of a second each"
        assert set(healthy) == {200}
    lines = [getattr(record, "fields", {}) for record in caplog.records]
    refused_ms = [line["ms"] for line in lines if line.get("status") == 429]
    assert len(refused_ms) == OFFERED - ACTIVE - QUEUED
    assert statistics.quantiles(refused_ms, n=20)[-1] <= 50.0


async def test_a_socket_that_waits_is_told_how_long(tmp_path: Path) -> None:
    script = ToneScript(delay_s={"codes": 0.4}, characters_per_second=60.0)
    room = make_room(tmp_path, script, active_requests=1, queued_requests=1)
    async with serving(room), talk(room) as first, talk(room) as second:
        for client in (first, second):
            await client.send("input.text", text=TEXT)
            await client.send("input.done")
            await asyncio.sleep(0.05)
        warning = await second.until(wire.Warn)
        assert warning.code == "queued"
        assert warning.message.startswith("0 requests wait ahead of this one, about ")
        for client in (first, second):
            await client.until(wire.SessionDone)


async def wait_again(room: Room, late: Talk, first: Talk) -> None:
    """Bring ``late`` to where it waits in line for its second sentence, as ``first`` speaks."""
    hall = room.service.admission
    await late.send("input.text", text="Good morning.")
    await late.send("input.flush")
    await late.until(wire.AudioDone)
    await eventually(lambda: asyncio.sleep(0, hall.active == 0))
    await first.send("input.text", text=TEXT)
    await first.send("input.done")
    await first.until(bytes)
    spoken = {take.request.request_id for take in room.model.takes[-1:]}
    await late.send("input.text", text=" And the end.")
    await late.send("input.flush")
    await eventually(lambda: asyncio.sleep(0, hall.waiting == 1))
    await first.until(bytes)
    assert (hall.active, hall.waiting) == (1, 1)
    assert {take.request.request_id for take in room.model.takes[1:]} == spoken


@pytest.fixture
def small_room(tmp_path: Path) -> Room:
    script = ToneScript(delay_s={"slice": 0.02})
    return make_room(tmp_path, script, active_requests=1, queued_requests=0)


async def test_a_text_that_goes_on_waits_for_a_place(small_room: Room) -> None:
    room = small_room
    async with serving(room), nothing_left(room), talk(room) as late, talk(room) as first:
        await wait_again(room, late, first)
        draining = asyncio.create_task(room.service.admission.drain())
        await first.until(wire.SessionDone)
        assert (await late.until(wire.AudioDone)).sentence_index == 1
        await late.send("input.done")
        await late.until(wire.SessionDone)
        await asyncio.wait_for(draining, 5.0)


async def test_a_text_that_is_cancelled_in_line_gives_up_its_seat(small_room: Room) -> None:
    room = small_room
    async with serving(room), nothing_left(room), talk(room) as late, talk(room) as first:
        await wait_again(room, late, first)
        await late.send("input.cancel")
        await late.until(wire.Cancelled)
        await eventually(lambda: asyncio.sleep(0, room.service.admission.waiting == 0))
        await first.until(wire.SessionDone)
        await eventually(lambda: asyncio.sleep(0, room.service.admission.active == 0))
