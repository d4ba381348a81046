"""Lists of models, and what a path allows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.server.rooms import in_process, make_room


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(make_room(tmp_path)) as client:
        yield client


async def test_the_model_is_listed_for_every_reader(client: httpx.AsyncClient) -> None:
    one = (await client.get("/v1/models/tone")).json()
    assert one.keys() == {"id", "object", "created", "owned_by"}
    assert (await client.get("/v1/models")).json() == {"object": "list", "data": [one]}
    speech = (await client.get("/v1/audio/models")).json()
    assert speech["data"] == speech["models"] == [one]
    missing = await client.get("/v1/models/tts-9")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")


async def test_a_head_has_no_body(client: httpx.AsyncClient) -> None:
    for path in ("/v1/models", "/v1/audio/voices", "/healthz", "/openapi.json"):
        answer = await client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/audio/speech", "OPTIONS, POST"),
        ("/v1/models/tone", "GET, HEAD, OPTIONS"),
        ("/v1/voices/anna", "DELETE, GET, HEAD, OPTIONS"),
    ],
)
async def test_what_a_path_allows(client: httpx.AsyncClient, path: str, allowed: str) -> None:
    answer = await client.options(path)
    assert (answer.status_code, answer.headers["allow"]) == (204, allowed)
    refused = await client.put(path)
    assert refused.status_code == 405
    assert (await client.options("/v1/nothing")).status_code == 404
