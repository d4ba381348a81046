"""LiveKit's TTS plugins as they come: they speak, are interrupted, and speak again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from livekit.agents import APIStatusError
from livekit.agents.utils import http_context

from tests.dialects.listening import LONG, TEXT, TOKENS, check_silence, check_whole
from tests.dialects.snippets import snippet
from tests.server.rooms import Room

TIMEOUT_S = 15.0


@dataclass
class Heard:
    """What came out of a stream: samples, their rate, and words with their times."""

    pcm: bytes = b""
    rate_hz: int = 0
    words: list[Any] = field(default_factory=list)


@asynccontextmanager
async def plugin(name: str, room: Room, **options: Any) -> AsyncIterator[Any]:
    """A plugin as the page configures it, or with other options."""
    async with http_context.open():
        names = snippet(f"plugins import {name}", room)
        tts = names["tts"]
        if options:
            tts = names[name].TTS(api_key="any", base_url=f"{room.url}/v1", **options)
        yield tts
        await tts.aclose()


async def listen(stream: Any, most_bytes: float = float("inf")) -> Heard:
    """What a stream gives, to its end or to the first sounds."""
    heard = Heard()
    async with asyncio.timeout(TIMEOUT_S):
        async for event in stream:
            heard.pcm += bytes(event.frame.data)
            heard.rate_hz = event.frame.sample_rate
            heard.words += event.frame.userdata.get("lk.timed_transcripts", [])
            if len(heard.pcm) > most_bytes:
                break
    return heard


async def say(tts: Any, *tokens: str) -> Heard:
    """One utterance, token by token, whole."""
    async with tts.stream() as stream:
        for token in tokens:
            stream.push_text(token)
        stream.end_input()
        return await listen(stream)


@pytest.mark.parametrize("options", [{}, {"voice_id": "anna", "encoding": "mp3_22050_32"}])
async def test_elevenlabs_speaks_is_interrupted_and_speaks_again(
    slow_room: Room, options: dict[str, str]
) -> None:
    async with plugin("elevenlabs", slow_room, **options) as tts:
        slow_room.model.log.clear()
        heard = await say(tts, *TOKENS)
        check_whole(slow_room, heard.pcm, heard.rate_hz)
        slow_room.model.log.clear()
        for _ in range(2):
            async with tts.stream() as stream:
                for token in LONG:
                    stream.push_text(token)
                await listen(stream, 1000)
                await asyncio.sleep(0.4)
            await check_silence(slow_room)
        heard = await say(tts, *TOKENS)
        check_whole(slow_room, heard.pcm, heard.rate_hz)
        assert slow_room.service.sessions == 1, "all of it went over one socket"


async def test_elevenlabs_speaks_at_once_after_a_late_interruption(slow_room: Room) -> None:
    """LiveKit tells nobody that it dropped a text that had ended; the next is not held up."""
    async with plugin("elevenlabs", slow_room) as tts:
        async with tts.stream() as stream:
            for token in LONG:
                stream.push_text(token)
            stream.end_input()
            await listen(stream, 1000)
        assert slow_room.model.live > 0
        slow_room.model.log.clear()
        async with tts.stream() as stream:
            stream.push_text(TEXT)
            stream.end_input()
            heard = await listen(stream, 1000)
            left = [text for kind, text, _ in slow_room.model.log if kind == "begin"]
            assert heard.pcm and len(left) < len(LONG) / 2


async def test_elevenlabs_tells_when_words_are_heard(room: Room) -> None:
    options = {"voice_id": "anna", "preferred_alignment": "original"}
    async with plugin("elevenlabs", room, **options) as tts:
        heard = await say(tts, "Hello there, this is all of it.")
    assert "".join(heard.words).split() == ["Hello", "there,", "this", "is", "all", "of", "it."]
    starts_s = [word.start_time for word in heard.words]
    assert starts_s == sorted(starts_s)
    assert starts_s[0] >= 0 and heard.words[-1].end_time <= len(heard.pcm) / 2 / heard.rate_hz


@pytest.mark.parametrize("encoding", ["pcm_16000", "mp3_44100_128", "opus_48000_32"])
async def test_elevenlabs_without_a_stream(room: Room, encoding: str) -> None:
    async with plugin("elevenlabs", room, voice_id="anna", encoding=encoding) as tts:
        room.model.log.clear()
        async with tts.synthesize(TEXT) as stream:
            heard = await listen(stream)
    check_whole(room, heard.pcm, heard.rate_hz)


async def test_elevenlabs_lists_the_voices(room: Room) -> None:
    async with plugin("elevenlabs", room) as tts:
        names = [voice.id for voice in await tts.list_voices()]
    assert {"anna", "bert"} <= set(names)


async def test_elevenlabs_hears_of_a_wrong_voice(room: Room) -> None:
    async with plugin("elevenlabs", room, voice_id="nobody") as tts:
        with pytest.raises(APIStatusError) as refused:
            await say(tts, *TOKENS)
        assert refused.value.status_code == 404


@pytest.mark.parametrize("options", [{}, {"response_format": "pcm"}])
async def test_openai_speaks_is_interrupted_and_speaks_again(
    slow_room: Room, options: dict[str, str]
) -> None:
    async with plugin("openai", slow_room, **options) as tts:
        slow_room.model.log.clear()
        async with tts.synthesize(TEXT) as stream:
            heard = await listen(stream)
        check_whole(slow_room, heard.pcm, heard.rate_hz)
        slow_room.model.log.clear()
        async with tts.synthesize("".join(LONG)) as stream:
            await listen(stream, 1000)
        await check_silence(slow_room)
        async with tts.synthesize(TEXT) as stream:
            heard = await listen(stream)
        check_whole(slow_room, heard.pcm, heard.rate_hz)
