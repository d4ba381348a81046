"""Pipecat's services as they come: they speak, are interrupted, and speak again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.dialects.bots import RATE_HZ, Bot, bot
from tests.dialects.listening import LONG, TOKENS, check_silence, check_whole
from tests.dialects.snippets import snippet
from tests.server.rooms import Room

SERVICES = ("OpenAITTSService", "ElevenLabsTTSService", "DeepgramTTSService")


@asynccontextmanager
async def pipeline(name: str, room: Room) -> AsyncIterator[Bot]:
    """A bot around the service as the page configures it."""
    tts = snippet(name, room)["tts"]
    async with bot(tts) as running:
        yield running
    if name == SERVICES[0]:
        await tts._client.close()  # Pipecat leaves it open


@pytest.mark.parametrize("name", SERVICES)
async def test_it_speaks_is_interrupted_and_speaks_again(slow_room: Room, name: str) -> None:
    async with pipeline(name, slow_room) as running:
        slow_room.model.log.clear()
        await running.say(*TOKENS)
        check_whole(slow_room, await running.hear(), RATE_HZ)
        slow_room.model.log.clear()
        for pause_s in (0.0, 0.4):
            await running.say(*LONG)
            await running.hear_some()
            await asyncio.sleep(pause_s)
            await running.interrupt()
            await check_silence(slow_room)
        await running.say(*TOKENS)
        check_whole(slow_room, await running.hear(), RATE_HZ)


@pytest.mark.parametrize("name", SERVICES)
async def test_a_bot_that_hangs_up_leaves_nothing(slow_room: Room, name: str) -> None:
    async with pipeline(name, slow_room) as running:
        await running.say(*TOKENS)
        await running.hear()
    await check_silence(slow_room)
    assert slow_room.service.sessions == 0


@pytest.mark.parametrize("name", ["ElevenLabsHttpTTSService", "DeepgramHttpTTSService"])
async def test_the_services_over_http(slow_room: Room, name: str) -> None:
    socket_name = name.replace("Http", "")
    kind = getattr(sys.modules[type(snippet(socket_name, slow_room)["tts"]).__module__], name)
    async with aiohttp.ClientSession() as session:
        settings = kind.Settings(voice="anna")
        tts = kind(
            api_key="any", base_url=slow_room.url, aiohttp_session=session, settings=settings
        )
        async with bot(tts) as running:
            slow_room.model.log.clear()
            await running.say(*LONG)
            await running.hear_some()
            await running.interrupt()
            await check_silence(slow_room)
            await running.say(*TOKENS)
            check_whole(slow_room, await running.hear(), RATE_HZ)


async def test_elevenlabs_tells_when_words_are_heard(room: Room) -> None:
    async with pipeline(SERVICES[1], room) as running:
        await running.say(*TOKENS)
        pcm = await running.hear()
        words = [word for word, _ in running.words]
        times_s = [at_s for _, at_s in running.words]
    assert words == "".join(TOKENS).split()
    assert times_s == sorted(times_s)
    assert times_s[-1] - times_s[0] < len(pcm) / 2 / RATE_HZ
