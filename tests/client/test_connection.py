"""The WebSocket client on a real socket: contexts, accounting, cancel, all kinds of trouble."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

import client.connection
import client.context
from client.connection import Audio, Connection, Context, connect
from client.errors import BrokenProtocol, CannotConnect, ConnectionLost
from streaming import wire
from streaming.errors import (
    BadConfig,
    Internal,
    Overloaded,
    SpeechError,
    SynthesisFailed,
    UnknownVoice,
)
from tests.client.peer import FRAME_SAMPLES, Peer, Script, failure, ramp, serving, start


async def hear(context: Context) -> tuple[bytes, list[str]]:
    """All audio of a context, and the names of its events."""
    pcm, names = b"", []
    async for event in context:
        names.append(type(event).__name__)
        if isinstance(event, Audio):
            assert event.first_sample == len(pcm) // 2
            pcm += event.pcm
    return pcm, names


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with serving(Peer()) as running:
        yield running


def on(kind: str, *answers: str | bytes, close: int | None = None) -> Script:
    """A script that answers messages of one type."""

    async def script(_: Peer, socket: ServerConnection, message: dict[str, Any]) -> bool:
        if message["type"] != kind:
            return False
        for answer in answers:
            await socket.send(answer)
        if close is not None:
            await socket.close(close, "so it is")
        return True

    return script


async def test_text_goes_in_and_audio_with_offsets_comes_out(peer: Peer) -> None:
    async with connect(peer.url, {"voice": "anna", "sampling": {"seed": 3}}) as connection:
        assert connection.session.model == "tone"
        context = connection.context("hello")
        await context.send("Hel")
        await context.send("lo.")
        await context.flush()
        await context.done()
        pcm, names = await hear(context)
    assert pcm == ramp(0, 5 * FRAME_SAMPLES)
    assert names == ["AudioStart", *["Audio"] * 5, "AudioDone", "SessionDone"]
    assert peer.types() == [
        "session.config",
        "input.text",
        "input.text",
        "input.flush",
        "input.done",
    ]
    assert peer.received[0] == {
        "type": "session.config",
        "voice": "anna",
        "sampling": {"seed": 3},
        "format": "pcm",
        "encoding": "binary",
        "framing": "tagged",
    }
    assert peer.text() == "Hello."


async def test_long_text_is_sent_in_pieces_of_the_published_size(peer: Peer) -> None:
    async with connect(peer.url) as connection:
        context = connection.context(config={"language": "en"})
        await context.send("x" * 120)
        await context.done()
        await hear(context)
    texts = [message for message in peer.received if message["type"] == "input.text"]
    assert [len(message["text"]) for message in texts] == [50, 50, 20]
    assert ["language" in message for message in texts] == [True, False, False]


async def test_contexts_interleave(peer: Peer) -> None:
    peer.delay_s = 0.002
    async with connect(peer.url) as connection:
        contexts = [connection.context() for _ in range(5)]
        for context in contexts:
            await context.send("hi")
            await context.done()
        heard = await asyncio.gather(*map(hear, contexts))
    assert [pcm for pcm, _ in heard] == [ramp(0, 5 * FRAME_SAMPLES)] * 5
    assert len({context.id for context in contexts}) == 5


async def test_an_id_may_be_used_again_after_its_end_but_not_before(peer: Peer) -> None:
    async with connect(peer.url) as connection:
        for _ in range(2):
            context = connection.context("a")
            with pytest.raises(ValueError, match="is open"):
                connection.context("a")
            await context.done()
            pcm, _ = await hear(context)
            assert pcm == ramp(0, 5 * FRAME_SAMPLES)


async def test_iterating_after_the_end_gives_nothing(peer: Peer) -> None:
    async with connect(peer.url) as connection:
        context = connection.context()
        await context.done()
        await hear(context)
        assert await hear(context) == (b"", [])


async def test_cancel_drops_what_was_not_heard_and_ends_with_cancelled(peer: Peer) -> None:
    peer.endless = True
    async with connect(peer.url) as connection:
        context = connection.context()
        await context.send("a long story")
        await context.done()
        names = []
        async for event in context:
            names.append(type(event).__name__)
            if isinstance(event, Audio):
                await context.cancel(played_samples=5)
        assert names == ["AudioStart", "Audio", "Cancelled"]
        again = connection.context()
        peer.endless = False
        await again.done()
        assert (await hear(again))[0] == ramp(0, 5 * FRAME_SAMPLES)
    assert {"type": "input.cancel", "context_id": context.id, "played_samples": 5} in peer.received


async def test_cancelling_what_was_never_sent_needs_no_server(peer: Peer) -> None:
    async with connect(peer.url) as connection:
        context = connection.context()
        await context.cancel()
        assert (await hear(context))[1] == ["Cancelled"]
    assert peer.types() == ["session.config"]


async def test_a_context_nobody_reads_holds_the_server_back_until_it_is_cancelled(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.context, "BUFFER_BYTES", 10 * 2 * FRAME_SAMPLES)
    peer.endless = True
    async with connect(peer.url) as connection:
        context = connection.context()
        await context.send("a long story")
        await context.done()
        await asyncio.sleep(0.3)
        held = context._inbox._held_bytes
        assert 0 < held <= 11 * 2 * FRAME_SAMPLES + 10 * client.context.EVENT_BYTES
        await context.cancel()
        assert (await hear(context))[1][-1] == "Cancelled"


async def test_leaving_with_a_full_buffer_does_not_hang(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.context, "BUFFER_BYTES", 1)
    peer.endless = True
    async with asyncio.timeout(5), connect(peer.url) as connection:
        context = connection.context()
        await context.send("a long story")
        await context.done()
        await asyncio.sleep(0.05)
    with pytest.raises(ConnectionLost):
        await hear(context)
    with pytest.raises(ConnectionLost):
        await context.send("more")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (failure("synthesis_failed", "c"), SynthesisFailed),
        (failure("unknown_voice", None), UnknownVoice),
        (failure("overloaded", "c", retry_after_s=2.5), Overloaded),
        (failure("from_the_future", "c"), Internal),
    ],
)
async def test_the_servers_errors_are_raised_typed(
    peer: Peer, answer: str, kind: type[SpeechError]
) -> None:
    peer.script = on("input.done", answer)
    async with connect(peer.url) as connection:
        context = connection.context("c")
        await context.send("hi")
        await context.done()
        with pytest.raises(kind) as caught:
            await hear(context)
        sent = json.loads(answer)
        assert sent["code"] in (caught.value.code, "from_the_future")
        assert sent["message"] in caught.value.message
        assert caught.value.retry_after_s == sent.get("retry_after_s")
        assert caught.value.request_id == "r"


async def test_an_error_of_one_context_leaves_the_others_alone(peer: Peer) -> None:
    async def script(_: Peer, socket: ServerConnection, message: dict[str, Any]) -> bool:
        if message.get("text") != "bad":
            return False
        await socket.send(failure("invalid_text", "bad"))
        return True

    peer.script = script
    async with connect(peer.url) as connection:
        bad, good = connection.context("bad"), connection.context("good")
        await bad.send("bad")
        await good.send("good")
        await good.done()
        assert (await hear(good))[0]
        with pytest.raises(SpeechError, match="invalid_text"):
            await hear(bad)


async def test_a_refused_configuration_reaches_whoever_comes_next(peer: Peer) -> None:
    peer.script = on("session.config", failure("unknown_voice"))
    async with connect(peer.url, {"voice": "nobody"}) as connection:
        await asyncio.sleep(0.05)
        with pytest.raises(UnknownVoice):
            connection.context()


async def test_bad_fields_are_refused_before_anything_is_sent(peer: Peer) -> None:
    with pytest.raises(BadConfig) as caught:
        async with connect(peer.url, {"speed": 100}):
            pass
    assert caught.value.param == "speed"
    assert peer.received == []


async def test_warnings_are_events(peer: Peer) -> None:
    warning = wire.Warn(code="text_truncated", message="too long", context_id="c")
    peer.script = on("input.text", wire.encode(warning))
    async with connect(peer.url) as connection:
        context = connection.context("c")
        await context.send("hi")
        await context.done()
        assert (await hear(context))[1][0] == "Warn"


@pytest.mark.parametrize("close", [1000, 1011, 1012, 4413])
async def test_a_close_in_the_middle_is_connection_lost(peer: Peer, close: int) -> None:
    peer.script = on("input.done", start("c", 0), ramp(0)[:0] + wire.tag(0, 0, 0, b""), close=close)
    async with connect(peer.url) as connection:
        context = connection.context("c")
        await context.done()
        with pytest.raises(ConnectionLost, match=f"close code {close}: so it is") as caught:
            await hear(context)
        assert caught.value.close_code == close
        with pytest.raises(ConnectionLost):
            await context.send("more")
        with pytest.raises(ConnectionLost):
            connection.context()


@pytest.mark.parametrize(
    "nonsense",
    [
        "{",
        "[]",
        '{"type": "no.such.thing"}',
        '{"type": "audio.start"}',
        b"short",
        wire.tag(0, 1, 99, b"\0\0"),
        wire.tag(0, 0, 0, b"\0"),
    ],
    ids=["json", "array", "type", "fields", "header", "offset", "half"],
)
async def test_a_server_that_breaks_the_protocol_is_told_apart(
    peer: Peer, nonsense: str | bytes
) -> None:
    peer.script = on("input.done", start("c", 0), nonsense)
    async with connect(peer.url) as connection:
        context = connection.context("c")
        await context.done()
        with pytest.raises(BrokenProtocol):
            await hear(context)


async def test_a_message_too_big_ends_the_connection(peer: Peer) -> None:
    peer.script = on("input.done", b"x" * (client.connection.MAX_MESSAGE_BYTES + 1))
    async with connect(peer.url) as connection:
        context = connection.context("c")
        await context.done()
        with pytest.raises(ConnectionLost):
            await hear(context)


async def test_audio_of_a_context_that_is_gone_is_ignored(peer: Peer) -> None:
    peer.script = on("input.done", wire.tag(77, 0, 0, b"\0\0"), failure("internal", "c"))
    async with connect(peer.url) as connection:
        context = connection.context("c")
        await context.done()
        with pytest.raises(Internal):
            await hear(context)


async def test_the_client_keeps_the_session_alive_and_notices_a_dead_server(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.connection, "KEEP_ALIVE_S", 0.02)
    monkeypatch.setattr(client.connection, "SILENCE_S", 0.3)
    async with connect(peer.url) as connection:
        context = connection.context("c")
        await asyncio.sleep(0.5)
        assert peer.received[-1] == {"type": "ping"}
        peer.script = on("ping")
        await context.done()
        peer.script = on("ping")
        await hear(context)
        late = connection.context("late")
        with pytest.raises(ConnectionLost, match="stopped answering"):
            await hear(late)


@pytest.mark.parametrize(
    ("greeting", "kind"),
    [
        ([failure("overloaded", retry_after_s=1.0)], Overloaded),
        (["hello"], CannotConnect),
        ([b"hello"], CannotConnect),
        ([wire.encode(wire.Pong())], CannotConnect),
    ],
)
async def test_a_refusal_or_nonsense_instead_of_a_greeting(
    peer: Peer, greeting: list[str | bytes], kind: type[Exception]
) -> None:
    peer.greeting = greeting
    with pytest.raises(kind):
        async with connect(peer.url):
            pass


async def test_nobody_there_nobody_who_speaks_and_no_address(peer: Peer) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for url in [f"http://127.0.0.1:{port}", "ftp://[::1]", "nonsense", f"{peer.url}/nowhere"]:
            with pytest.raises(CannotConnect):
                async with connect(url, open_timeout_s=0.3):
                    pass
    with pytest.raises(CannotConnect):
        async with connect(f"http://127.0.0.1:{port}", open_timeout_s=0.3):
            pass


async def test_nothing_is_left_behind(peer: Peer) -> None:
    before = asyncio.all_tasks()

    async def talk(connection: Connection) -> None:
        context = connection.context()
        await context.send("hi")
        raise RuntimeError("the caller's own trouble")

    with pytest.raises(RuntimeError, match="own trouble"):
        async with connect(peer.url) as connection:
            await talk(connection)
    for _ in range(100):
        if asyncio.all_tasks() <= before:
            break
        await asyncio.sleep(0.01)
    assert asyncio.all_tasks() <= before
