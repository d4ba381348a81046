"""The door: keys in every form, tokens, origins, CORS; HTTP in process, sockets for real."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from server.auth import PUBLIC
from server.keys import Allowance, make_key, write_keys
from tests.fakes import ToneScript
from tests.server.rooms import Room, in_process, make_room, serving

PAGE = "https://app.example"
SPEECH = "/v1/audio/speech"


@dataclass
class Guarded:
    """A server that asks for keys, and one that fits."""

    room: Room
    key: str
    key_id: str
    path: Path


def guard(folder: Path, **changes: Any) -> Guarded:
    path = folder / "keys.json"
    key, text = make_key("a", allowance=Allowance(requests_per_minute=2))
    write_keys(path, (key,))
    script = ToneScript(characters_per_second=60.0)
    room = make_room(folder, script, keys=path, token_secret="s", **changes)
    return Guarded(room=room, key=text, key_id=key.id, path=path)


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"authorization": "Bearer KEY"}, ""),
        ({"authorization": "bearer  KEY"}, ""),
        ({"authorization": "Token KEY"}, ""),
        ({"x-api-key": "KEY"}, ""),
        ({"xi-api-key": "KEY"}, ""),
        ({"authorization": "Bearer TOKEN"}, ""),
        ({}, "?token=TOKEN"),
    ],
)
async def test_a_key_opens_in_every_form(
    tmp_path: Path, headers: Mapping[str, str], query: str
) -> None:
    guarded = guard(tmp_path)
    async with in_process(guarded.room) as client:
        made = await client.post("/v1/tokens?ttl_s=60", headers={"x-api-key": guarded.key})
        assert (made.status_code, made.json()["expires_in"]) == (201, 60)
        fill = {"KEY": guarded.key, "TOKEN": made.json()["token"]}

        def filled(text: str) -> str:
            for name, value in fill.items():
                text = text.replace(name, value)
            return text

        sent = {name: filled(value) for name, value in headers.items()}
        answer = await client.get(f"/v1/models{filled(query)}", headers=sent)
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({}, ""),
        ({"authorization": "Basic KEY"}, ""),
        ({"authorization": "Bearer"}, ""),
        ({"authorization": "Bearer KEYx"}, ""),
        ({"x-api-key": "itk_00000000_" + "a" * 43}, ""),
        ({}, "?token=KEY"),
        ({}, "?api_key=KEY"),
        ({}, "?token=itt_x_99999999999_" + "a" * 43),
    ],
)
async def test_anything_else_is_unauthorized(
    tmp_path: Path, headers: Mapping[str, str], query: str
) -> None:
    guarded = guard(tmp_path)
    async with in_process(guarded.room) as client:
        sent = {name: value.replace("KEY", guarded.key) for name, value in headers.items()}
        for path in ("/v1/models", "/metrics", "/v1/capabilities", "/nowhere", "/"):
            answer = await client.get(path + query.replace("KEY", guarded.key), headers=sent)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
            assert answer.headers["x-request-id"] == answer.json()["error"]["request_id"]
        answer = await client.post(SPEECH, json={"input": "Hello."}, headers=sent)
        assert answer.status_code == 401
        for path in PUBLIC - {"/health", "/docs", "/openapi.json"}:
            assert (await client.get(path)).status_code == 200, path


def test_the_page_lists_what_asks_for_no_key() -> None:
    page = Path(__file__).parents[2].joinpath("docs", "security.md").read_text()
    listed = page.partition("closed with 1008. `/")[2].partition("ask for none")[0]
    assert set(re.findall(r"`([^`]+)`", f"`/{listed}")) == PUBLIC


async def test_a_token_makes_no_token_and_dies_with_its_key(tmp_path: Path) -> None:
    guarded = guard(tmp_path)
    async with in_process(guarded.room) as client:
        made = await client.post("/v1/tokens", headers={"x-api-key": guarded.key})
        headers = {"authorization": f"Bearer {made.json()['token']}"}
        assert (await client.post("/v1/tokens", headers=headers)).status_code == 401
        for ttl_s in ("0", "3601", "x", "-1"):
            refused = await client.post(
                f"/v1/tokens?ttl_s={ttl_s}", headers={"x-api-key": guarded.key}
            )
            assert (refused.status_code, refused.json()["error"]["param"]) == (422, "ttl_s")
    write_keys(guarded.path, ())
    again = make_room(tmp_path, keys=guarded.path, token_secret="s")
    async with in_process(again) as client:
        assert (await client.get("/v1/models", headers=headers)).status_code == 401


async def test_a_key_that_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    guarded = guard(tmp_path)
    async with in_process(guarded.room) as client:
        headers = {"x-api-key": guarded.key}
        for _ in range(2):
            answer = await client.post(SPEECH, json={"input": "Hello."}, headers=headers)
            assert answer.status_code == 200
        answer = await client.post(SPEECH, json={"input": "Hello."}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limited")
        assert 25 <= int(answer.headers["retry-after"]) <= 30


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("", 200),
        ("http://127.0.0.1:6008", 200),
        ("http://localhost:6008", 403),
        ("https://evil.example", 403),
        ("http://rebound.example:6008", 403),
        ("null", 403),
        ("http://[::", 403),
    ],
)
async def test_without_keys_only_pages_of_an_address_may_come_in(
    tmp_path: Path, origin: str, status: int
) -> None:
    room = make_room(tmp_path)
    async with in_process(room) as client:
        host = "rebound.example:6008" if "rebound" in origin else "127.0.0.1:6008"
        headers = {"host": host, **({"origin": origin} if origin else {})}
        answer = await client.get("/v1/models", headers=headers)
        assert answer.status_code == status
        assert "access-control-allow-origin" not in answer.headers, "CORS is off"
        if status == 403:
            assert answer.json()["error"]["code"] == "forbidden_origin"
        preflight = {**headers, "access-control-request-method": "POST"}
        answer = await client.options(SPEECH, headers=preflight)
        assert "access-control-allow-origin" not in answer.headers


async def test_listed_origins_get_cors(tmp_path: Path) -> None:
    guarded = guard(tmp_path, origins=("HTTPS://App.example/",))
    async with in_process(guarded.room) as client:
        preflight = {
            "origin": PAGE,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type,xi-api-key",
        }
        answer = await client.options(SPEECH, headers=preflight)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
        headers = {"origin": PAGE, "x-api-key": guarded.key}
        answer = await client.get("/v1/models", headers=headers)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
        headers["origin"] = "https://evil.example"
        answer = await client.get("/v1/models", headers=headers)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


async def greeting(room: Room, **options: Any) -> tuple[dict[str, Any], int | None, str | None]:
    """The first message of a socket, the code it is closed with, and its subprotocol."""
    query = options.pop("query", "")
    async with connect(room.socket_url + query, **options) as socket:
        first = json.loads(await socket.recv())
        if first["type"] == "session.created":
            return first, None, socket.subprotocol
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        return first, closed.value.rcvd.code, socket.subprotocol


async def test_sockets_ask_for_keys_too(tmp_path: Path) -> None:
    guarded = guard(tmp_path, origins=(PAGE,))
    async with serving(guarded.room) as room:
        for options in (
            {"additional_headers": {"authorization": f"Bearer {guarded.key}"}},
            {"additional_headers": {"xi-api-key": guarded.key}, "origin": Origin(PAGE)},
        ):
            first, _, _ = await greeting(room, **options)
            assert first["type"] == "session.created"
        for offered, chosen in (
            (("indextts", f"indextts-key.{guarded.key}"), "indextts"),
            (("realtime", f"openai-insecure-api-key.{guarded.key}"), "realtime"),
            (("token", guarded.key), "token"),
            ((f"indextts-key.{guarded.key}",), f"indextts-key.{guarded.key}"),
        ):
            subprotocols = [Subprotocol(one) for one in offered]
            first, _, subprotocol = await greeting(room, subprotocols=subprotocols)
            assert (first["type"], subprotocol) == ("session.created", chosen)
        async with httpx.AsyncClient(base_url=room.url) as client:
            made = await client.post("/v1/tokens", headers={"x-api-key": guarded.key})
        first, _, _ = await greeting(room, query=f"?token={made.json()['token']}")
        assert first["type"] == "session.created"


async def test_a_removed_key_begins_nothing_on_an_open_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.keys._LOOK_EVERY_S", 0.0)
    guarded = guard(tmp_path)
    async with serving(guarded.room) as room:
        headers = {"x-api-key": guarded.key}
        async with connect(room.socket_url, additional_headers=headers) as socket:
            await socket.send(json.dumps({"type": "input.text", "text": "Hello there. "}))
            await socket.send(json.dumps({"type": "input.done"}))
            while isinstance(said := await socket.recv(), bytes) or "session.done" not in said:
                continue
            write_keys(guarded.path, ())
            await socket.send(json.dumps({"type": "input.text", "text": "Hello again. "}))
            while "error" not in (said := str(await socket.recv())):
                continue
            assert json.loads(said)["code"] == "unauthorized"
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
        assert len(room.model.takes) == 1


async def test_refused_sockets_learn_why(tmp_path: Path) -> None:
    guarded = guard(tmp_path, origins=(PAGE,))
    async with serving(guarded.room) as room:
        for code, options in (
            ("unauthorized", {}),
            ("unauthorized", {"query": f"?token={guarded.key}"}),
            ("unauthorized", {"subprotocols": [Subprotocol("token"), Subprotocol("wrong")]}),
            (
                "forbidden_origin",
                {
                    "origin": Origin("https://evil.example"),
                    "additional_headers": {"x-api-key": guarded.key},
                },
            ),
        ):
            first, closed, _ = await greeting(room, **options)
            assert (first["type"], first["code"], closed) == ("error", code, 1008)


async def test_a_page_elsewhere_cannot_use_a_server_without_keys(tmp_path: Path) -> None:
    async with serving(make_room(tmp_path)) as room:
        first, closed, _ = await greeting(room, origin=Origin("https://evil.example"))
        assert (first["code"], closed) == ("forbidden_origin", 1008)
        first, _, _ = await greeting(room, origin=Origin(room.url))
        assert first["type"] == "session.created"
