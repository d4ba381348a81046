"""Every code of the error tree reaches a client over both doors as the table says.

Most codes have tests of what causes them; here each is raised from inside, so that those whose
cause comes with a later feature are on the wire already.
"""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from server.errors import ANSWERS, error_kinds
from streaming import wire
from streaming.errors import SpeechError
from tests.fakes import ToneScript
from tests.live.peers import talk
from tests.server.rooms import make_room, serving

KINDS = {kind.code: kind for kind in error_kinds()}


@pytest.mark.parametrize("code", KINDS)
async def test_every_code_over_both_doors(tmp_path: Path, code: str) -> None:
    kind: type[SpeechError] = KINDS[code]
    error = kind("as it happens", retry_after_s=3.0)
    room = make_room(tmp_path, ToneScript(failures={0: error}))
    async with serving(room):
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{room.url}/v1/audio/speech", json={"input": "Hello."})
        assert answer.status_code == ANSWERS[code].status
        assert answer.json()["error"]["code"] == code
        assert ("Retry-After" in answer.headers) == (answer.status_code in (429, 503))
        async with talk(room) as client_socket:
            await client_socket.send("input.text", text="Hello.")
            await client_socket.send("input.done")
            failure = await client_socket.error(code)
            assert failure.context_id == "default"
            assert not client_socket.all(wire.SessionDone)
