"""The client against the real server, whose model is a tone."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import wave
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from client.connection import Audio, Context, connect
from client.http import HttpClient
from server.keys import make_key, write_keys
from streaming.errors import EmptyInput, TextTooLong, UnknownVoice
from streaming.wire import Cancelled, SessionDone
from tests.fakes import ToneScript
from tests.server.rooms import Room, eventually, make_room, serving
from tests.speakers.sounds import noise

ROOT = Path(__file__).parents[2]
TEXT = "Hello there, this is the first sentence. And here comes another one, a little longer."


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    folder = tmp_path / "speakers"
    folder.mkdir()
    async with serving(make_room(folder)) as running:
        yield running


async def start(room: Room, *arguments: str) -> Process:
    command = [sys.executable, "index_tts_client.py", *arguments, "--url", room.url]
    return await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )


async def call(room: Room, *arguments: str, stdin: bytes = b"") -> tuple[int | None, Any, str]:
    """Exit code, JSON from standard output, standard error."""
    process = await start(room, *arguments, "--json")
    out, err = await process.communicate(stdin)
    return process.returncode, json.loads(out or b"null"), err.decode()


async def hear(context: Context) -> tuple[int, SessionDone | Cancelled]:
    """Samples of a context and its last event."""
    samples = 0
    async for event in context:
        if isinstance(event, Audio):
            samples += event.samples
        if isinstance(event, SessionDone | Cancelled):
            return samples, event
    raise AssertionError("the context did not end")


async def test_say_speaks_through_the_real_server(room: Room, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    code, report, err = await call(
        room, "say", TEXT, "-o", str(out), "--voice", "bert", "--seed", "5", "--wait-ready", "10"
    )
    assert code == 0, err
    with wave.open(str(out)) as file:
        assert (file.getframerate(), file.getnframes()) == (22_050, report["samples"])
    assert report["audio_s"] >= room.model.samples_of(TEXT) / 22_050
    assert report["chunks"] >= 2 and report["first_audio_ms"] > 0
    assert report["server"]["first_audio_ms"] > 0
    assert {take.request.seed for take in room.model.takes} == {5}


@pytest.mark.parametrize("by", ["line", "token"])
async def test_stream_speaks_standard_input(room: Room, by: str) -> None:
    code, report, err = await call(
        room, "stream", "--by", by, "--no-play", stdin=TEXT.replace(". ", ".\n\n").encode()
    )
    assert code == 0, err
    assert report["samples"] > 0 and report["warnings"] == []


async def test_voices_and_a_voice_that_cannot_be_used(room: Room) -> None:
    code, listed, err = await call(room, "voices")
    assert code == 0, err
    assert [voice["id"] for voice in listed["voices"]] == ["anna", "bert", "broken"]
    assert "text.wav" in listed["voices"][2]["unavailable"]
    for voice in ["broken", "nobody"]:
        code, report, _ = await call(room, "say", "Hi", "--no-play", "--voice", voice)
        assert (code, report["error"]["code"]) == (1, "unknown_voice")


async def test_a_voice_is_added_heard_and_removed(tmp_path: Path) -> None:
    for nth in range(2):
        (tmp_path / f"{nth}.wav").write_bytes(noise(1.5, seed=nth))
    files = (str(tmp_path / "0.wav"), str(tmp_path / "1.wav"))
    given = ("--consent", "I agree.", "--description", "me", "--language", "en")
    async with serving(make_room(tmp_path, voices_dir=tmp_path / "uploads")) as room:
        code, added, err = await call(room, "voices", "add", "dora", *files, *given)
        assert code == 0, err
        assert added["voices"][0]["id"] == "dora" and added["voices"][0]["language"] == "en"
        assert len(room.service.catalog.resolve("dora").files) == 2
        code, listed, _ = await call(room, "voices", "list")
        assert (listed["voices"][-1]["id"], listed["voices"][-1]["description"]) == ("dora", "me")
        code, report, err = await call(room, "say", "Hi.", "--no-play", "--voice", "dora")
        assert code == 0 and report["samples"] > 0, err
        code, refused, _ = await call(room, "voices", "add", "dora", *files, *given)
        assert (code, refused["error"]["code"]) == (1, "bad_config")
        assert (await call(room, "voices", "remove", "dora"))[0] == 0
        code, refused, _ = await call(room, "voices", "remove", "dora")
        assert (code, refused["error"]["code"]) == (1, "unknown_voice")


async def test_the_key_of_the_environment_opens_every_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, secret = make_key("me")
    write_keys(tmp_path / "keys.json", [key])
    async with serving(make_room(tmp_path, keys=tmp_path / "keys.json")) as room:
        for arguments in (("say", "Hi.", "--no-play"), ("voices",)):
            monkeypatch.delenv("INDEXTTS_API_KEY", raising=False)
            code, refused, _ = await call(room, *arguments)
            assert code and refused["error"]["code"] in ("unauthorized", "CannotConnect")
            monkeypatch.setenv("INDEXTTS_API_KEY", secret)
            code, _, err = await call(room, *arguments)
            assert code == 0, err


async def test_nothing_to_speak_and_too_much(room: Room) -> None:
    code, report, _ = await call(room, "say", "...", "--no-play")
    assert code == 1 and report["samples"] == 0
    assert report["warnings"] and report["warnings"][0].startswith("empty_input")
    code, report, _ = await call(room, "say", "many words " * 1_000, "--no-play")
    assert (code, report["error"]["code"]) == (1, "text_too_long")


async def test_ctrl_c_reaches_the_model(tmp_path: Path) -> None:
    script = ToneScript(delay_s={"slice": 0.05}, runaway=frozenset({0}))
    async with serving(make_room(tmp_path, script)) as room:
        process = await start(room, "say", TEXT, "--no-play", "--json")

        async def speaking() -> bool:
            return room.model.live == 1

        async def quiet() -> bool:
            return room.model.live == 0 and room.service.admission.active == 0

        await eventually(speaking, 20)
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, _ = await process.communicate()
        assert process.returncode == 130
        assert json.loads(out)["cancelled"] is True
        await eventually(quiet)


async def test_the_library_keeps_contexts_apart_and_cancels_one(room: Room) -> None:
    async with connect(room.url, {"voice": "anna"}) as connection:
        contexts = [connection.context(config={"sampling": {"seed": n}}) for n in range(3)]
        for context in contexts:
            await context.send(TEXT)
        await contexts[1].cancel(played_samples=0)
        for context in (contexts[0], contexts[2]):
            await context.done()
        heard = await asyncio.gather(*map(hear, contexts))
    assert isinstance(heard[1][1], Cancelled) and heard[1][1].heard_text_end == 0
    for samples, last in (heard[0], heard[2]):
        assert isinstance(last, SessionDone)
        assert samples == last.total_samples > 0
        assert last.characters_in == len(TEXT)


async def test_a_bad_configuration_is_told_by_the_server(room: Room) -> None:
    async with connect(room.url, {"voice": "nobody"}) as connection:
        with pytest.raises(UnknownVoice):
            context = connection.context()
            await context.send(TEXT)
            await context.done()
            await hear(context)
    async with connect(room.url) as connection:
        context = connection.context()
        for _ in range(3):
            await context.send("many words " * 200)
        with pytest.raises(TextTooLong):
            await hear(context)


async def test_http_speech_and_events_are_the_same_sound(room: Room) -> None:
    async with HttpClient(room.url) as http:
        assert await http.ready()
        config = {"voice": "anna", "seed": 3}
        streamed = b"".join([piece async for piece in http.speech(TEXT, config)])
        events = b"".join([piece async for piece in http.speech_events(TEXT, config)])
        assert len(streamed) > 0 and streamed == events
        wav = b"".join([p async for p in http.speech(TEXT, {**config, "response_format": "wav"})])
        assert wav[:4] == b"RIFF"
        with pytest.raises(EmptyInput):
            await anext(aiter(http.speech(" ")))
        with pytest.raises(UnknownVoice) as caught:
            await anext(aiter(http.speech("Hi", {"voice": "nobody"})))
        assert caught.value.param == "voice"
        assert [voice.id for voice in await http.voices()] == ["anna", "bert", "broken"]
