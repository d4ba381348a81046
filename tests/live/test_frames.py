"""Made-up frames: every refusal is documented, no socket hangs, nothing is internal."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.frames import bombard
from tests.fakes import ToneScript
from tests.live.peers import nothing_left
from tests.server.rooms import make_room, serving


@pytest.mark.parametrize("seed", [1, 2])
async def test_made_up_frames(tmp_path: Path, seed: int) -> None:
    room = make_room(tmp_path, ToneScript(characters_per_second=300.0), active_requests=4)
    async with serving(room), nothing_left(room):
        found = await bombard(room.socket_url, seed=seed, frames=300, at_once=4)
    assert found.broken == []
    assert found.frames >= 300
    assert {"bad_message", "bad_config"} <= found.codes.keys()
