"""A client that lost its socket goes on at the next sample."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from streaming import wire
from tests.fakes import ToneScript
from tests.live.peers import Talk, nothing_left, talk
from tests.live.talks import SLOW, TEXT
from tests.server.rooms import Room, eventually, make_room, serving


@asynccontextmanager
async def keeping(room: Room, **config: Any) -> AsyncIterator[Talk]:
    """A client that may be lost."""
    async with talk(room, resume=True, framing="tagged", sampling={"seed": 5}, **config) as client:
        yield client


def token(client: Talk) -> str:
    greeting: wire.SessionCreated = client.all(wire.SessionCreated)[0]
    assert greeting.resume_token is not None
    return greeting.resume_token


def heard(client: Talk, number: int = 0) -> dict[int, bytes]:
    """Audio of a context by its first sample."""
    frames = [wire.untag(item) for item in client.heard if isinstance(item, bytes)]
    return {first: audio for n, _, first, audio in frames if n == number}


def joined(pieces: dict[int, bytes]) -> bytes:
    """Audio in its order, which has no holes and no doubles."""
    whole = b""
    for first in sorted(pieces):
        assert first == len(whole) // 2
        whole += pieces[first]
    return whole


async def say(client: Talk, text: str = TEXT) -> None:
    await client.send("input.text", text=text)
    await client.send("input.done")


async def some(client: Talk, frames: int) -> int:
    """Hear some frames; the next sample."""
    for _ in range(frames):
        await client.until(bytes)
    return sum(len(audio) // 2 for audio in heard(client).values())


async def lose(client: Talk) -> None:
    client.socket.transport.abort()
    with pytest.raises(ConnectionClosed):
        while True:
            await client.next()


async def undisturbed(room: Room, text: str = TEXT) -> bytes:
    async with keeping(room) as client:
        await say(client, text)
        await client.until(wire.SessionDone)
        return joined(heard(client))


@pytest.mark.parametrize("frames", [1, 9, 40])
async def test_it_goes_on_at_the_next_sample(slow_room: Room, frames: int) -> None:
    expected = await undisturbed(slow_room)
    async with nothing_left(slow_room):
        async with keeping(slow_room) as client:
            await say(client)
            await some(client, frames)
            await lose(client)
            before = heard(client)
            at = len(joined(before)) // 2
        async with talk(slow_room, resume_token=token(client), next_sample={"default": at}) as back:
            resumed = await back.until(wire.SessionResumed)
            assert (resumed.next_sample, resumed.state) == (at, "complete")
            assert resumed.characters_in == len(TEXT)
            end = await back.until(wire.SessionDone)
        whole = joined(before | heard(back))
        assert whole == expected
        assert end.total_samples == len(whole) // 2


async def test_a_socket_that_is_only_half_dead_is_taken_over(slow_room: Room) -> None:
    """The client has another network now, the server has not noticed."""
    expected = await undisturbed(slow_room)
    async with keeping(slow_room) as client:
        await say(client)
        at = await some(client, 5)
        before = {first: audio for first, audio in heard(client).items() if first < at}
        async with talk(slow_room, resume_token=token(client), next_sample={"default": at}) as back:
            await back.until(wire.SessionDone)
            assert await client.close_code() is None
        assert joined(before | heard(back)) == expected


async def test_it_can_be_lost_again_and_again(slow_room: Room) -> None:
    expected = await undisturbed(slow_room)
    pieces: dict[int, bytes] = {}
    async with nothing_left(slow_room):
        async with keeping(slow_room) as client:
            await say(client)
            await some(client, 4)
            await lose(client)
        for _ in range(3):
            pieces |= heard(client)
            at = len(joined(pieces)) // 2
            resume = {"resume_token": token(client), "next_sample": {"default": at}}
            async with talk(slow_room, **resume) as client:
                await client.until(wire.SessionResumed)
                await client.until(bytes)
                await lose(client)
        pieces |= heard(client)
        at = len(joined(pieces)) // 2
        async with talk(
            slow_room, resume_token=token(client), next_sample={"default": at}
        ) as client:
            await client.until(wire.SessionDone)
    assert joined(pieces | heard(client)) == expected


async def test_the_engine_goes_on_into_a_bounded_buffer(tmp_path: Path) -> None:
    script = ToneScript(characters_per_second=2.0, slice_ms=500.0)
    room = make_room(tmp_path, script, replay_bytes=200_000)
    async with serving(room), keeping(room) as client:
        await say(client, TEXT)
        at = await some(client, 2)
        await lose(client)
        before = heard(client)
        at = len(joined(before)) // 2
        seen = -1

        async def halted() -> bool:
            nonlocal seen
            await asyncio.sleep(0.2)
            last, seen = seen, len(room.model.log)
            return last == seen

        await eventually(halted)
        made = sum(1 for kind, *_ in room.model.log if kind == "slice") * 0.5
        assert 2 < made < 35  # half of the buffer, and 30 s that the pipeline may hold
        async with talk(room, resume_token=token(client), next_sample={"default": at}) as back:
            end = await back.until(wire.SessionDone)
        assert len(joined(before | heard(back))) == 2 * end.total_samples


@pytest.mark.parametrize("claim", ["guessed", "used"])
async def test_a_token_is_good_for_once(slow_room: Room, claim: str) -> None:
    async with keeping(slow_room) as client:
        await say(client)
        await some(client, 1)
        await lose(client)
    async with talk(slow_room, resume_token=token(client)) as back:
        await back.until(wire.SessionResumed)
        name = "x" * 32 if claim == "guessed" else token(client)
        async with talk(slow_room, resume_token=name) as other:
            failure = await other.error("resume_expired")
            assert failure.context_id is None
            await other.send("input.text", text="Hello.")
            await other.send("input.done")
            await other.until(wire.SessionDone)
        await back.until(wire.SessionDone)


async def test_who_does_not_come_back_in_time_is_forgotten(tmp_path: Path) -> None:
    room = make_room(tmp_path, SLOW, resume_s=0.3)
    async with serving(room), nothing_left(room):
        async with keeping(room) as client:
            await say(client, TEXT * 20)
            await some(client, 1)
            await lose(client)
        await asyncio.sleep(0.6)
        assert room.model.live == 0
        async with talk(room, resume_token=token(client), next_sample={"default": 0}) as back:
            assert "0.3 s" in (await back.error("resume_expired")).message


async def test_what_was_closed_on_purpose_ends_at_once(slow_room: Room) -> None:
    async with nothing_left(slow_room):
        async with keeping(slow_room) as client:
            await say(client, TEXT * 20)
            await some(client, 1)
            began_s = time.monotonic()
        await eventually(lambda: asyncio.sleep(0, slow_room.model.live == 0))
        assert time.monotonic() - began_s < 2


async def test_nothing_is_kept_unless_asked_for(slow_room: Room) -> None:
    async with nothing_left(slow_room):
        async with talk(slow_room, framing="tagged") as client:
            await say(client, TEXT * 20)
            await some(client, 1)
            await lose(client)
        await eventually(lambda: asyncio.sleep(0, slow_room.model.live == 0))
        async with talk(slow_room, resume_token=token(client)) as back:
            await back.error("resume_expired")


async def test_a_client_that_names_its_own_token_keeps_its_socket(slow_room: Room) -> None:
    async with keeping(slow_room) as client:
        await client.send("session.config", resume_token=token(client))
        await client.error("resume_expired")
        await say(client)
        at = await some(client, 1)
        await lose(client)
    async with talk(slow_room, resume_token=token(client), next_sample={"default": at}) as back:
        await back.until(wire.SessionResumed)


async def test_resuming_is_switched_off_and_on_again(slow_room: Room) -> None:
    async with nothing_left(slow_room):
        async with keeping(slow_room) as client:
            await client.send("session.config", resume=False)
            await say(client, TEXT * 20)
            await some(client, 1)
            await lose(client)
        await eventually(lambda: asyncio.sleep(0, slow_room.model.live == 0))
        async with talk(slow_room, resume_token=token(client)) as back:
            await back.error("resume_expired")
    async with keeping(slow_room) as client:
        await client.send("session.config", resume=False)
        await client.send("session.config", resume=True)
        await say(client)
        at = await some(client, 1)
        await lose(client)
    async with talk(slow_room, resume_token=token(client), next_sample={"default": at}) as back:
        await back.until(wire.SessionResumed)
        end = await back.until(wire.SessionDone)
        assert len(joined(heard(client) | heard(back))) == 2 * end.total_samples


async def test_what_else_a_message_with_a_token_says_holds_anyhow(slow_room: Room) -> None:
    async with talk(slow_room, resume_token="none", resume=True, framing="tagged") as client:
        await client.error("resume_expired")
        await say(client)
        at = await some(client, 1)
        await lose(client)
    async with talk(slow_room, resume_token=token(client), next_sample={"default": at}) as back:
        await back.until(wire.SessionResumed)
        await back.until(wire.SessionDone)


async def test_text_that_was_lost_is_sent_again(slow_room: Room) -> None:
    async with keeping(slow_room) as client:
        await client.send("input.text", text="Hello there, my friend. ")
        await client.send("input.flush")
        await client.send("input.text", text="How are ")
        await client.until(bytes)
        await lose(client)
    at = len(joined(heard(client))) // 2
    named = {"default": at, "never": 0}
    async with talk(slow_room, resume_token=token(client), next_sample=named) as back:
        unknown = await back.until(wire.SessionResumed)
        assert (unknown.context_id, unknown.state) == ("never", "unknown")
        resumed = await back.until(wire.SessionResumed)
        assert (resumed.state, resumed.characters_in) == ("open", 32)
        await back.send("input.text", text="you?")
        await back.send("input.done")
        end = await back.until(wire.SessionDone)
        assert end.characters_in == 36


async def test_draining_forgets_who_is_lost(slow_room: Room) -> None:
    async with keeping(slow_room) as client:
        await say(client, TEXT * 20)
        await some(client, 1)
        await lose(client)
    await eventually(lambda: asyncio.sleep(0, slow_room.service.sessions == 1))
    assert slow_room.server is not None
    slow_room.server.should_exit = True
    await eventually(lambda: asyncio.sleep(0, slow_room.service.sessions == 0), timeout_s=2)


async def test_resuming_can_be_switched_off(tmp_path: Path) -> None:
    async with serving(make_room(tmp_path, SLOW, resume_s=0)) as room, keeping(room) as client:
        assert client.all(wire.SessionCreated)[0].resume_token is None
