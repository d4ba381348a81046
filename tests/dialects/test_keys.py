"""Keys, as the clients of other services show them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from server.keys import make_key, write_keys
from tests.dialects.listening import TEXT
from tests.dialects.peers import Peer, peer
from tests.live.peers import nothing_left
from tests.server.rooms import Room, make_room, serving

ONE = "/v1/text-to-speech/anna/stream-input?output_format=pcm_24000"
MANY = "/v1/text-to-speech/anna/multi-stream-input?output_format=pcm_24000"


@dataclass
class Guarded:
    """A server that asks for keys, and one that fits."""

    room: Room
    key: str

    @property
    def app(self) -> Any:
        """The application."""
        assert self.room.server is not None
        return self.room.server.config.app


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Guarded]:
    path = tmp_path / "keys.json"
    key, text = make_key("a")
    write_keys(path, (key,))
    async with serving(make_room(tmp_path, keys=path, sessions=4)) as room:
        yield Guarded(room=room, key=text)


async def speaks(client: Peer) -> None:
    await client.send(text=TEXT)
    await client.send(text="")
    assert await client.end() == 1000
    assert len(client.audio()) > 24_000


async def test_in_the_header_of_every_client(guarded: Guarded) -> None:
    room, key = guarded.room, guarded.key
    async with peer(room, ONE, **{"xi-api-key": key}) as client:
        await speaks(client)
    async with peer(room, "/v1/speak", Authorization=f"Token {key}") as client:
        await client.until(type="Metadata")
    url = room.url.replace("http", "ws", 1)
    offered = [Subprotocol("token"), Subprotocol(key)]
    async with connect(f"{url}/v1/speak", subprotocols=offered) as socket:
        assert socket.subprotocol == "token"
    async with httpx.AsyncClient(base_url=room.url) as http:
        refused = await http.post("/v1/text-to-speech/anna", json={"text": TEXT})
        assert refused.json()["detail"]["status"] == "invalid_api_key"
        refused = await http.post("/v1/speak", json={"text": TEXT})
        assert refused.json()["err_code"] == "UNAUTHORIZED"
        answer = await http.post("/v1/speak", json={"text": TEXT}, headers={"x-api-key": key})
        assert answer.status_code == 200


async def test_strangers_of_deepgram_are_refused_in_the_handshake(guarded: Guarded) -> None:
    for headers in ({}, {"Authorization": "Token no"}):
        with pytest.raises(InvalidStatus) as refused:
            async with peer(guarded.room, "/v1/speak", **headers):
                pass
        assert refused.value.response.status_code == 401
        assert json.loads(refused.value.response.body or b"")["err_code"] == "UNAUTHORIZED"


@pytest.mark.parametrize("field", ["xi_api_key", "xi-api-key", "authorization"])
async def test_in_the_first_message(guarded: Guarded, field: str) -> None:
    shown = f"Bearer {guarded.key}" if field == "authorization" else guarded.key
    async with nothing_left(guarded.room), peer(guarded.room, ONE) as client:
        await client.send(**{"text": " ", field: shown})
        await speaks(client)
        request = guarded.room.model.takes[-1].request
        assert request.voice == "anna"


@pytest.mark.parametrize("first", ['{"text": " "}', '{"text": " ", "xi_api_key": "no"}', "junk"])
async def test_without_a_key_nothing_is_spoken(guarded: Guarded, first: str) -> None:
    async with nothing_left(guarded.room):
        for target in (ONE, MANY):
            async with peer(guarded.room, target) as client:
                await client.socket.send(first)
                await client.send(text=TEXT)
                await client.send(text="")
                assert await client.end() == 1008
            assert [item["error"] for item in client.messages()] == ["invalid_api_key"]


async def test_who_is_known_hears_of_a_wrong_voice(guarded: Guarded) -> None:
    async with peer(guarded.room, ONE.replace("anna", "nobody")) as client:
        await client.send(text=" ", xi_api_key=guarded.key)
        assert await client.end() == 1008
        assert client.messages()[0]["error"] == "voice_not_found"


async def test_a_stranger_that_leaves_or_is_one_too_many(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded.app.state, "knocking", asyncio.Semaphore(4))
    async with nothing_left(guarded.room):
        async with peer(guarded.room, MANY):
            pass
        url = guarded.room.url.replace("http", "ws", 1) + MANY
        sockets = [await connect(url) for _ in range(4)]
        async with peer(guarded.room, MANY) as client:
            await client.until(error="system_busy")
            assert await client.end() == 4429
        for socket in sockets:
            await socket.close()
        with pytest.raises(ConnectionClosed):
            await sockets[0].recv()


async def test_strangers_keep_nobody_out(guarded: Guarded) -> None:
    url = guarded.room.url.replace("http", "ws", 1) + MANY
    strangers = [await connect(url) for _ in range(2 * guarded.room.service.settings.sessions)]
    assert guarded.room.service.sessions == 0
    async with peer(guarded.room, ONE, **{"xi-api-key": guarded.key}) as client:
        await speaks(client)
    for stranger in strangers:
        await stranger.close()
