"""A client whose socket is cut goes on with another one, and nobody hears it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

import client.redial
from client.connection import Audio, Connection, connect
from client.errors import ConnectionLost
from streaming.errors import ResumeExpired
from streaming.wire import AudioStart, SessionDone
from tests.fakes import ToneScript
from tests.server.rooms import Room, eventually, make_room, serving

TEXT = "Hello there, this is the first sentence. And this one is the second, a bit longer one. "
SCRIPT = ToneScript(delay_s={"slice": 0.01}, characters_per_second=30.0)


class Relay:
    """Passes bytes on to a server, until it is told to cut every connection."""

    def __init__(self, room: Room) -> None:
        self._port = int(room.url.rpartition(":")[2])
        self._writers: list[asyncio.StreamWriter] = []
        self.connections = 0
        self.open = True
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.open:
            writer.transport.abort()
            return
        self.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, back]
        await asyncio.gather(self._pass(reader, back), self._pass(there, writer))

    def cut(self) -> None:
        """Lose every connection, in both directions and with what is on the way."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()


@asynccontextmanager
async def relayed(room: Room) -> AsyncIterator[Relay]:
    async with serving(room):
        relay = Relay(room)
        server = await asyncio.start_server(relay.handle, "127.0.0.1", 0)
        relay.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield relay
        finally:
            relay.cut()
            server.close()
            await server.wait_closed()


async def hear(connection: Connection, text: str = TEXT) -> tuple[bytes, SessionDone]:
    context = connection.context()
    await context.send(text)
    await context.done()
    pcm, starts = b"", []
    async for event in context:
        if isinstance(event, Audio):
            pcm += event.pcm
        elif isinstance(event, AudioStart):
            starts.append(event.sentence_index)
        elif isinstance(event, SessionDone):
            assert starts == list(range(event.total_sentences))
            return pcm, event
    raise AssertionError("it never ended")


CONFIG = {"sampling": {"seed": 3}}


async def test_nobody_hears_that_the_socket_was_cut(tmp_path: Path) -> None:
    script = replace(SCRIPT, delay_s={"slice": 0.05})
    async with relayed(make_room(tmp_path, script)) as relay:
        async with connect(relay.url, CONFIG) as connection:
            expected, _ = await hear(connection)
        chance = random.Random(2)

        async def cut_often() -> None:
            while True:
                await asyncio.sleep(chance.uniform(0.1, 0.4))
                relay.cut()

        async with connect(relay.url, CONFIG) as connection:
            cutting = asyncio.create_task(cut_often())
            heard = await asyncio.gather(*(hear(connection) for _ in range(3)))
            cutting.cancel()
        assert relay.connections >= 3
        for pcm, end in heard:
            assert len(pcm) == 2 * end.total_samples
            assert pcm == expected
            assert end.characters_in == len(TEXT)


async def test_text_written_while_there_is_no_socket_arrives(tmp_path: Path) -> None:
    room = make_room(tmp_path, SCRIPT)
    async with relayed(room) as relay, connect(relay.url, CONFIG) as connection:
        context, other = connection.context(), connection.context()
        for at, word in enumerate(TEXT.split()):
            await context.send(word + " ")
            if at == 5:
                relay.open = False
                relay.cut()
                await asyncio.sleep(0.05)
        await context.done()
        opening = asyncio.create_task(other.send("Hello. "))
        await asyncio.sleep(0.2)
        relay.open = True
        await opening
        await other.done()
        for one, characters in ((context, len(TEXT)), (other, 7)):
            *_, end = [event async for event in one]
            assert isinstance(end, SessionDone)
            assert end.characters_in == characters


async def test_a_cancel_without_a_socket_arrives(tmp_path: Path) -> None:
    room = make_room(tmp_path, SCRIPT)
    async with relayed(room) as relay, connect(relay.url, CONFIG) as connection:
        context = connection.context()
        await context.send(TEXT * 20)
        async for event in context:
            if isinstance(event, Audio):
                break
        relay.cut()
        await context.cancel(played_samples=10)
        assert [event async for event in context][-1].type == "cancelled"  # type: ignore[union-attr]
        await eventually(lambda: asyncio.sleep(0, room.service.admission.active == 0))


async def test_who_comes_back_too_late_is_told(tmp_path: Path) -> None:
    room = make_room(tmp_path, SCRIPT, resume_s=0.2)
    async with relayed(room) as relay, connect(relay.url, CONFIG) as connection:
        context, unheard = connection.context(), connection.context()
        await context.send(TEXT * 20)
        await unheard.send("Hello there.")
        async for event in context:
            if isinstance(event, Audio):
                break
        cast(dict[str, float], connection.session.limits)["resume_s"] = 5.0  # it does not know
        relay.open = False
        relay.cut()
        asyncio.get_running_loop().call_later(0.5, setattr, relay, "open", True)
        with pytest.raises(ResumeExpired):
            async for _ in context:
                pass
        await unheard.done()
        assert [event async for event in unheard][-1].type == "session.done"  # type: ignore[union-attr]
        assert (await hear(connection))[1].total_samples > 0


async def test_a_server_that_stays_away_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.redial, "LONGEST_PAUSE_S", 0.1)
    room = make_room(tmp_path, SCRIPT, resume_s=0.5)
    async with relayed(room) as relay, connect(relay.url, CONFIG) as connection:
        context = connection.context()
        await context.send("Hello")
        relay.open = False
        relay.cut()
        with pytest.raises(ConnectionLost):
            async for _ in context:
                pass


async def test_a_server_that_closes_is_not_called_again(tmp_path: Path) -> None:
    room = make_room(tmp_path, SCRIPT)
    async with relayed(room) as relay, connect(relay.url, CONFIG) as connection:
        assert room.server is not None
        room.server.should_exit = True
        context = connection.context()
        with pytest.raises(Exception, match=r"shutting down|closed|lost"):
            async for _ in context:
                pass
        assert relay.connections == 1
