"""The command: help, refusals, and a whole life in a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from websockets.asyncio.client import connect

from server import cli
from server.sources import SETTINGS
from streaming import wire
from tests.live.peers import Talk

ROOT = Path(__file__).parents[2]

CHILD = """
import sys, types
from pathlib import Path
from tests.fakes import ToneScript
from tests.server.rooms import make_room
folder = Path(sys.argv.pop())
script = ToneScript(delay_s={"slice": 0.05}, characters_per_second=30.0)
def compose(settings, progress):
    progress("a tone")
    places = settings.limits.active_requests
    return make_room(folder, script, active_requests=places, grace_s=settings.grace_s).service
sys.modules["server.compose"] = types.SimpleNamespace(compose=compose, OPERATOR_ERRORS=(OSError,))
from server.cli import main
main()
"""


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, list(arguments))


def test_help_names_every_option() -> None:
    result = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(cli.app, ["--help"])
    assert result.exit_code == 0
    for setting in SETTINGS.values():
        assert setting.flag in result.output


def test_a_foreign_owner_of_indextts_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    owners = {"indextts": ["indextts", "indextts-stream"]}
    monkeypatch.setattr(metadata, "packages_distributions", lambda: owners)
    result = invoke()
    assert result.exit_code == 1
    assert "belongs to indextts-stream and to indextts;" in result.stderr


def test_a_missing_extra_prints_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "server.transport", raising=False)
    result = invoke()
    assert result.exit_code == 1
    assert "pip install 'indextts-stream[server]'" in result.stderr


async def ready_address(stderr: asyncio.StreamReader) -> str:
    said = ""
    while (found := re.search(r"Ready at http://(\S+)", said)) is None:
        line = await asyncio.wait_for(stderr.readline(), 60)
        assert line, said
        said += line.decode()
    return found[1]


@asynccontextmanager
async def child(
    folder: Path, *arguments: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The command in a process of its own, and the URL of its WebSocket."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, "--port", "0", *arguments, str(folder),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "TERM": "dumb"},
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        address = await ready_address(process.stderr)
        yield process, f"ws://{address}/v1/audio/speech/stream"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_it_listens_speaks_and_finishes_on_sigterm(tmp_path: Path) -> None:
    async with child(tmp_path) as (process, url):
        async with connect(url, max_queue=None) as socket:
            client = Talk(socket)
            await client.send("input.text", text="Hello there, this is a test of the end. " * 2)
            await client.send("input.done")
            await client.until(wire.AudioStart)
            process.send_signal(signal.SIGTERM)
            assert await client.close_code() == 1012
        (done,) = client.all(wire.SessionDone)
        assert len(client.pcm) == 2 * done.total_samples > 0
        assert await asyncio.wait_for(process.wait(), 20) == 0
        assert process.stderr is not None
        assert b"Traceback" not in await process.stderr.read()


async def test_a_second_interrupt_does_not_wait(tmp_path: Path) -> None:
    async with child(tmp_path) as (process, url), connect(url, max_queue=None) as socket:
        client = Talk(socket)
        await client.send("input.text", text="Hello there, this never ends. ")
        await client.send("input.flush")
        await client.until(wire.AudioStart)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        line = await asyncio.wait_for(process.stderr.readline(), 10)
        assert b"live speech has" in line
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 5) == 0
