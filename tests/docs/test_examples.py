"""The examples of the pages, run against a real server that speaks in tones."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect

from client.urls import DEFAULT_URL
from server.compose import shipped_speakers
from server.service import SynthesisService
from speakers.registry import EVERYBODY, Registry
from speakers.uploads import Sheet, UploadFolder
from speakers.voices import VoiceCache
from streaming.pipeline import SpeechPipeline
from tests.docs.pages import ROOT, Block, blocks
from tests.fakes import ToneScript
from tests.server.rooms import SETTINGS, Room, WatchedModel, serving
from tests.speakers.sounds import noise

TIMEOUT_S = 20.0

OPENAI = "from openai import"


@pytest_asyncio.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    """A tone for every voice that comes with the package."""
    model = WatchedModel(ToneScript())
    service = SynthesisService(
        model=model,
        pipeline=SpeechPipeline(model),
        voices=VoiceCache(model),
        registry=Registry(
            shipped_speakers(),
            uploads=UploadFolder(tmp_path / "uploads", max_voices=2, max_bytes=10**7),
        ),
        settings=SETTINGS,
    )
    async with serving(Room(service=service, model=model)) as served:
        yield served


async def run(*command: str, folder: Path, url: str, stdin: bytes = b"") -> str:
    """What a program prints; it must end well."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "INDEXTTS_URL": url},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(TIMEOUT_S):
        printed, _ = await process.communicate(stdin)
    assert process.returncode == 0, printed.decode()
    return printed.decode()


ELSEWHERE = "clients.md"
"""The page whose snippets tests/dialects runs."""


@pytest.mark.parametrize(
    "block",
    [b for b in blocks("python") if OPENAI not in b.text and b.page != ELSEWHERE],
    ids=str,
)
async def test_python_examples_run(block: Block, room: Room, tmp_path: Path) -> None:
    text = block.text.replace(DEFAULT_URL, room.url)
    printed = await run(sys.executable, "-c", text, folder=tmp_path, url=room.url)
    if DEFAULT_URL in block.text:
        assert ("samples from" in printed) or ("heard" in printed and "bytes of PCM" in printed)


async def test_the_openai_example_is_answered(room: Room) -> None:
    """What the SDK would send for the arguments of the example."""
    [block] = [b for b in blocks("python") if OPENAI in b.text]
    calls = [n for n in ast.walk(ast.parse(block.text)) if isinstance(n, ast.Call)]
    named = {ast.unparse(c.func): c for c in calls}
    arguments = {
        k.arg: ast.literal_eval(k.value) for k in named["client.audio.speech.create"].keywords
    }
    base = next(ast.literal_eval(k.value) for k in named["OpenAI"].keywords if k.arg == "base_url")
    async with httpx.AsyncClient(trust_env=False) as http:
        url = f"{base}/audio/speech".replace(DEFAULT_URL, room.url)
        answer = await http.post(url, json=arguments)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/mpeg")


def _client_lines() -> list[str]:
    lines = [line for block in blocks("sh") for line in block.text.splitlines()]
    return list(dict.fromkeys(line for line in lines if "indextts-client" in line))


@pytest.mark.parametrize("line", _client_lines())
async def test_client_examples_run(line: str, room: Room, tmp_path: Path) -> None:
    words = shlex.split(line, comments=True)
    arguments = words[words.index("indextts-client") + 1 :]
    if arguments[0] == "stream":
        arguments.append("--no-play")
    for name in (word for word in arguments if word.endswith(".wav") and "dora" in word):
        (tmp_path / name).write_bytes(noise(1.5))
    if arguments[:2] == ["voices", "remove"]:
        sheet = Sheet(name=arguments[2], consent="yes", owner=EVERYBODY)
        room.service.casting.registry.add(sheet, [noise(1.5)])
    command = (sys.executable, "-m", "client.cli", *arguments)
    printed = await run(*command, folder=tmp_path, url=room.url, stdin=b"One line.\nTwo lines.\n")
    expected = {"voices": "boris", "voices list": "boris", "voices add": "dora"}
    expected["voices remove"] = ""
    assert expected.get(" ".join(arguments[:2]), "audio") in printed
    if "--output" in arguments:
        assert (tmp_path / arguments[arguments.index("--output") + 1]).stat().st_size > 44


@pytest.mark.parametrize("block", [b for b in blocks("json") if b.page == "http.md"], ids=str)
async def test_http_examples_are_answered(block: Block, room: Room) -> None:
    body: dict[str, Any] = json.loads(block.text)
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{room.url}/v1/audio/speech", json=body)
    assert answer.status_code == 200
    events = answer.headers["content-type"] == "text/event-stream"
    assert events is (body.get("stream_format") == "sse")
    if events:
        assert json.loads(answer.text.strip().rpartition("data: ")[2])["type"].endswith("done")


async def test_the_session_goes_as_it_is_told(room: Room) -> None:
    """Send the first example's messages; each answer has the fields that the page shows."""
    examples = [
        json.loads(line)
        for block in blocks("json")[: _protocol_session_end()]
        if block.page == "protocol.md"
        for line in block.text.splitlines()
    ]
    sent = [m for m in examples if m["type"].startswith(("session.config", "input."))]
    shown = {m["type"]: m for m in examples if m not in sent}
    heard: dict[str, Any] = {}
    async with asyncio.timeout(TIMEOUT_S), connect(_socket(room), proxy=None) as socket:
        for message in sent:
            await socket.send(json.dumps(message))
        while "session.done" not in heard:
            if isinstance(data := await socket.recv(), str):
                answer = json.loads(data)
                heard[answer["type"]] = answer
    assert heard.keys() == shown.keys() == {
        "session.created", "audio.start", "audio.done", "session.done"
    }  # fmt: skip
    for kind, message in shown.items():
        assert heard[kind].keys() == message.keys(), kind
        for group in ("limits", "quality", "timings"):
            assert heard[kind].get(group, {}).keys() == message.get(group, {}).keys()


@pytest.mark.parametrize("answer", ["error", "warning", "cancelled"])
async def test_other_answers_have_the_fields_they_are_told_with(answer: str, room: Room) -> None:
    messages = [
        json.loads(line)
        for block in blocks("json")
        if block.page == "protocol.md"
        for line in block.text.splitlines()
    ]
    [shown] = [m for m in messages if m["type"] == answer]
    provoke: dict[str, list[dict[str, Any]]] = {
        "error": [{"type": "input.text", "context_id": "a", "text": "Hi. ", "voice": "nobody"},
                  {"type": "input.done", "context_id": "a"}],
        "warning": [{"type": "input.flush", "context_id": "b"}],
        "cancelled": [{"type": "input.text", "context_id": "a", "text": "A long text, " * 50},
                      next(m for m in messages if m["type"] == "input.cancel")],
    }  # fmt: skip
    async with asyncio.timeout(TIMEOUT_S), connect(_socket(room), proxy=None) as socket:
        for message in provoke[answer]:
            await socket.send(json.dumps(message))
        while True:
            data = await socket.recv()
            if isinstance(data, str) and (got := json.loads(data))["type"] == answer:
                break
    assert got.keys() == shown.keys()
    same = ("code", "message", "context_id", "param")
    assert {k: got[k] for k in same if k in got} == {k: shown[k] for k in same if k in shown}


def _protocol_session_end() -> int:
    """How many JSON blocks there are up to the end of the protocol's first session."""
    ends = [i for i, b in enumerate(blocks("json")) if '"session.done"' in b.text]
    return ends[0] + 1


def _socket(room: Room) -> str:
    return room.socket_url
