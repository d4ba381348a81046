"""Pipecat's services as they come: they speak, are interrupted, and speak again."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import pytest
from openai import DefaultAsyncHttpxClient

from tests.dialects.bots import RATE_HZ, bot
from tests.dialects.listening import LONG, TOKENS, check_silence, check_whole
from tests.server.rooms import Room

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from pipecat.services.deepgram.tts import DeepgramTTSService
    from pipecat.services.elevenlabs.tts import ElevenLabsTTSService
    from pipecat.services.openai.tts import OpenAITTSService


@asynccontextmanager
async def openai(room: Room) -> AsyncIterator[Any]:
    async with DefaultAsyncHttpxClient() as client:  # Pipecat does not close one of its own
        yield OpenAITTSService(
            api_key="any",
            base_url=f"{room.url}/v1",
            http_client=client,
            settings=OpenAITTSService.Settings(voice="alloy"),
        )


@asynccontextmanager
async def elevenlabs(room: Room) -> AsyncIterator[Any]:
    yield ElevenLabsTTSService(
        api_key="any",
        url=room.url.replace("http", "ws", 1),
        settings=ElevenLabsTTSService.Settings(voice="anna"),
    )


@asynccontextmanager
async def deepgram(room: Room) -> AsyncIterator[Any]:
    yield DeepgramTTSService(
        api_key="any",
        base_url=room.url.replace("http", "ws", 1),
        settings=DeepgramTTSService.Settings(voice="anna"),
    )


Made: TypeAlias = Callable[[Room], AbstractAsyncContextManager[Any]]


@pytest.mark.parametrize("service", [openai, elevenlabs, deepgram])
async def test_it_speaks_is_interrupted_and_speaks_again(slow_room: Room, service: Made) -> None:
    async with service(slow_room) as tts, bot(tts) as pipeline:
        slow_room.model.log.clear()
        await pipeline.say(*TOKENS)
        check_whole(slow_room, await pipeline.hear(), RATE_HZ)
        slow_room.model.log.clear()
        for pause_s in (0.0, 0.4):
            await pipeline.say(*LONG)
            await pipeline.hear_some()
            await asyncio.sleep(pause_s)
            await pipeline.interrupt()
            await check_silence(slow_room)
        await pipeline.say(*TOKENS)
        check_whole(slow_room, await pipeline.hear(), RATE_HZ)


@pytest.mark.parametrize("service", [openai, elevenlabs, deepgram])
async def test_a_bot_that_hangs_up_leaves_nothing(slow_room: Room, service: Made) -> None:
    async with service(slow_room) as tts, bot(tts) as pipeline:
        await pipeline.say(*TOKENS)
        await pipeline.hear()
    await check_silence(slow_room)
    assert slow_room.service.sessions == 0


async def test_elevenlabs_tells_when_words_are_heard(room: Room) -> None:
    async with elevenlabs(room) as tts, bot(tts) as pipeline:
        await pipeline.say(*TOKENS)
        pcm = await pipeline.hear()
        words = [word for word, _ in pipeline.words]
        times_s = [at_s for _, at_s in pipeline.words]
    assert words == "".join(TOKENS).split()
    assert times_s == sorted(times_s)
    assert times_s[-1] - times_s[0] < len(pcm) / 2 / RATE_HZ
