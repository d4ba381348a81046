"""The document of the routes is what the routes do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
from starlette.routing import Route

from bench.schema import try_out
from server.app import create_app
from server.dialects.seeds import OWN_FIELDS
from server.jobs import BODY
from server.openapi import ApiRoute, document
from streaming.errors import InputError
from streaming.fields import FIELDS
from tests.server.rooms import Room, make_room

PROBES: tuple[Any, ...] = (
    "",
    "x",
    "en",
    "en-US",
    "mp3",
    "srt",
    "word",
    "binary",
    "plain",
    "x" * 65,
    0,
    1,
    -1,
    0.25,
    0.3,
    4.1,
    1.5,
    2_001,
    8_000,
    10**6,
    2**63,
    True,
    False,
    [],
    ["x"],
    {},
    {"id": "x"},
    {"id": ""},
    {"weight": 2},
    {"vector": [0.5] * 8},
    {"vector": [0.5] * 7},
    {"vector": [1.5] * 8},
    {"text": "glad"},
    {"text": "x" * 501},
    {"random": 1},
    {"top_p": 0},
    {"top_p": 0.5, "top_k": 1_001},
    {"temperature": "hot"},
    {"gap_ms": 100, "max_tokens": 40},
    {"gap_ms": -1},
    {"x" * 65: "x"},
    {"x": "x"},
    {"x": 1},
)


async def test_every_route_is_described(room: Room) -> None:
    async with httpx.AsyncClient(base_url=room.url) as client:
        said = (await client.get("/openapi.json")).json()
        page = await client.get("/docs")
        asked = await client.options("/v1/voices")
    routes = create_app(room.service, room.service.settings).routes
    http = [route for route in routes if isinstance(route, Route)]
    assert said == document(routes)
    assert all(isinstance(route, ApiRoute) for route in http)
    for route in http:
        for method in (route.methods or set()) - {"HEAD"}:
            operation = said["paths"][route.path][method.lower()]
            assert operation["summary"] not in ("", route.path)
            assert route.path in page.text
            body = operation.get("requestBody", {}).get("content", {})
            for media in body.values():
                jsonschema_rs.validator_for(media["schema"])
    assert page.headers["content-type"].startswith("text/html")
    assert (asked.status_code, asked.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")


async def test_who_reads_the_pages_makes_no_work(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    for name in ("document", "render"):
        monkeypatch.setattr(f"server.openapi.{name}", made.append)
    async with httpx.AsyncClient(base_url=room.url) as client:
        for path in ("/openapi.json", "/docs"):
            answer = await client.get(path)
            assert answer.status_code == 200
            assert "/v1/audio/speech" in answer.text
    assert made == []


@pytest.mark.parametrize("name", [name for name in FIELDS if name in BODY["properties"]])
def test_a_schema_says_what_its_check_does(name: str) -> None:
    check = FIELDS[name]
    validator = jsonschema_rs.validator_for(dict(check.schema))
    refused = 0
    for probe in PROBES:
        try:
            check(name, probe)
            accepted = True
        except InputError:
            accepted = False
            refused += 1
        assert validator.is_valid(probe) == accepted, probe
    assert 0 < refused < len(PROBES)


def test_the_seeds_take_fields_that_are_described() -> None:
    assert set(OWN_FIELDS) <= set(BODY["properties"])


async def test_made_up_requests_get_documented_answers(tmp_path: Path) -> None:
    verdict = await try_out(("fuzzing",), examples=4, seed=1)
    assert verdict.well, verdict.told
    routes = create_app((room := make_room(tmp_path)).service, room.service.settings).routes
    described = sum(len(path) for path in document(routes)["paths"].values())
    assert verdict.operations == described - 1, "all but the document itself"
    assert verdict.cases > 2 * verdict.operations
