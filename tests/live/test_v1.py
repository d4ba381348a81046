"""IndexTTS 1.5 behind every door: a tiny random checkpoint, real sockets, the bundled client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import connect as connect_raw

from client.connection import Audio, connect
from server.app import create_app
from server.compose import compose, shipped_speakers
from server.config import Settings
from server.transport import listen, make_server
from tests.indextts.tiny_v1 import write_v1

pytestmark = pytest.mark.timeout(600)

TEXT = "The quick brown fox jumps."
RATE_HZ = 24_000
HOP = 1024


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_v1(tmp_path_factory.mktemp("doors") / "IndexTTS-1.5", slice_codes=[8, 16])


@pytest.fixture
async def host(folder: Path) -> AsyncIterator[str]:
    """Address of a server that ``--model FOLDER`` would start."""
    settings = Settings(model=str(folder), voices=(shipped_speakers(),), warm_text="The fox.")
    service = await asyncio.to_thread(compose, settings)
    listener = listen("127.0.0.1", 0, limits=settings.limits)
    server = make_server(
        create_app(service, settings),
        limits=settings.limits,
        head_timeout_s=settings.body_timeout_s,
        drain=lambda: service.drain(1.0),
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await service.warmed.wait()
    assert service.state == "ready"
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


async def heard_by_client(host: str, config: dict[str, object]) -> bytes:
    audio = b""
    async with connect(f"ws://{host}/v1/audio/speech/stream") as connection:
        await connection.configure(config)
        context = connection.context()
        await context.send(TEXT[:9])
        await context.send(TEXT[9:])
        await context.done()
        async for event in context:
            if isinstance(event, Audio):
                audio += event.pcm
    return audio


async def test_every_door_speaks_and_says_the_same(host: str) -> None:
    seed = {"seed": 4}
    native = await heard_by_client(host, {"sampling": seed})
    assert len(native) > 2 * HOP
    async with httpx.AsyncClient(base_url=f"http://{host}", timeout=300) as http:
        capabilities = (await http.get("/v1/capabilities")).json()
        assert capabilities["sample_rate"] == RATE_HZ
        asked = {"model": "tts", "input": TEXT, "voice": "alloy", "response_format": "pcm", **seed}
        openai = await http.post("/v1/audio/speech", json=asked)
        events = await http.post("/v1/audio/speech", json={**asked, "stream_format": "sse"})
        old = await http.post("/index-tts/v1/tts", json={"text": TEXT, "reference_id": "ada"})
        eleven = await http.post(
            "/v1/text-to-speech/ada/stream?output_format=pcm_24000",
            json={"text": TEXT, **seed},
        )
        deepgram = await http.post(
            "/v1/speak?encoding=linear16&sample_rate=24000&container=none", json={"text": TEXT}
        )
        sad = await http.post("/v1/audio/speech", json={**asked, "emotion": {"vector": [1] * 8}})
    for answer in (openai, events, old, eleven, deepgram):
        assert answer.status_code == 200, answer.text
        assert len(answer.content) > 2 * HOP
    assert sad.status_code == 422 and sad.json()["error"]["param"].startswith("emotion")
    assert len(openai.content) % 2 == 0
    first, second = (np.frombuffer(data, "<i2") for data in (native, openai.content))
    assert first.size == second.size
    assert np.abs(first.astype(int) - second).max() <= 1


async def test_the_sockets_of_other_dialects_speak(host: str) -> None:
    async with connect_raw(f"ws://{host}/v1/speak?encoding=linear16&sample_rate=24000") as socket:
        await socket.send(json.dumps({"type": "Speak", "text": TEXT}))
        await socket.send(json.dumps({"type": "Flush"}))
        audio = b""
        async with asyncio.timeout(300):
            async for message in socket:
                if isinstance(message, bytes):
                    audio += message
                elif json.loads(message)["type"] == "Flushed":
                    break
    assert len(audio) > 2 * HOP
    url = f"ws://{host}/v1/text-to-speech/ada/stream-input?output_format=pcm_24000"
    async with connect_raw(url) as socket:
        for text in (" ", f"{TEXT} ", ""):
            await socket.send(json.dumps({"text": text}))
        async with asyncio.timeout(300):
            chunks = [json.loads(message) async for message in socket]
    assert any(chunk.get("audio") for chunk in chunks) and chunks[-1].get("isFinal")
