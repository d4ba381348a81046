"""Three hundred clients vanish: what they had is given back within two seconds."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.fakes import ToneScript
from tests.live.rude import reset, speaking
from tests.server.rooms import Room, eventually, make_room, serving

CLIENTS, AT_ONCE = 300, 50
BACK_S = 2.0


def left(room: Room) -> tuple[int, int, int, int, int]:
    """Tasks, descriptors, places, sessions, contexts in the model."""
    places = room.service.admission.active + room.service.admission.waiting
    tasks, fds = len(asyncio.all_tasks()), psutil.Process().num_fds()
    return tasks, fds, places, room.service.sessions, room.model.live


async def vanish(port: int, kind: str) -> None:
    """Speak on many sockets and lose them all."""
    if kind == "kill":
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.live.rude", str(port), str(AT_ONCE)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert child.stdout is not None
        assert int(await child.stdout.readline()) == AT_ONCE
        child.kill()
        await child.wait()
        return
    for _, writer in await asyncio.gather(*(speaking(port) for _ in range(AT_ONCE))):
        if kind == "RST":
            reset(writer)
        else:
            writer.close()


@pytest.mark.parametrize("kind", ["FIN", "RST", "kill"])
async def test_everything_is_given_back(tmp_path: Path, kind: str) -> None:
    script = ToneScript(delay_s={"slice": 0.5}, characters_per_second=30.0)
    room = make_room(tmp_path, script, active_requests=CLIENTS, sessions=CLIENTS)
    async with serving(room):
        port = int(room.url.rpartition(":")[2])
        await vanish(port, kind)
        await eventually(lambda: asyncio.sleep(0, room.service.sessions == 0))
        gc.collect()
        before = left(room)
        for _ in range(CLIENTS // AT_ONCE):
            await vanish(port, kind)
        assert room.service.sessions > 0
        gone_s = time.monotonic()
        await eventually(lambda: asyncio.sleep(0, left(room) == before))
        assert time.monotonic() - gone_s < BACK_S
