"""ElevenLabs' WebSockets, message by message."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from server.dialects.elevenlabs_fields import OUTPUTS
from streaming.errors import SynthesisFailed
from tests.dialects.conftest import TONE_HZ
from tests.dialects.listening import LONG, TEXT, TOKENS, check_silence, check_whole
from tests.dialects.peers import Peer, peer
from tests.fakes import ToneScript
from tests.live.peers import nothing_left
from tests.server.rooms import Room, eventually, make_room, serving
from tests.server.sounds import decode, pitch_hz

ONE = "/v1/text-to-speech/anna/stream-input?output_format=pcm_24000"
MANY = "/v1/text-to-speech/anna/multi-stream-input?output_format=pcm_24000"


def alignments(client: Peer, kind: str = "alignment", **wanted: Any) -> list[dict[str, Any]]:
    return [item[kind] for item in client.messages(**wanted) if item.get(kind)]


def spoken(client: Peer, kind: str = "alignment", **wanted: Any) -> str:
    return "".join("".join(one["chars"]) for one in alignments(client, kind, **wanted))


async def test_one_context_from_the_first_word_to_the_close(room: Room) -> None:
    async with nothing_left(room), peer(room, ONE) as client:
        room.model.log.clear()
        await client.send(text=" ", voice_settings={"stability": 0.5, "similarity_boost": 0.8})
        for token in TOKENS:
            await client.send(text=token, try_trigger_generation=True)
        await client.send(text="")
        assert await client.end() == 1000
        check_whole(room, client.audio(), 24_000)
        assert [item.get("isFinal") for item in client.heard].count(True) == 1
        assert client.heard[-1] == {"isFinal": True}
        assert all("contextId" not in item for item in client.heard)


async def test_times_of_characters_fit_the_audio_to_the_sample(room: Room) -> None:
    async with peer(room, ONE) as client:
        await client.send(text=TEXT)
        await client.send(text="")
        await client.end()
    assert spoken(client).split() == TEXT.split()
    assert spoken(client, "normalizedAlignment") == spoken(client).lower()
    for kind in ("alignment", "normalizedAlignment"):
        total_ms = 0
        for one in alignments(client, kind):
            starts, lengths = one["charStartTimesMs"], one["charDurationsMs"]
            assert len(starts) == len(lengths) == len(one["chars"])
            assert starts == sorted(starts) and min(lengths) >= 0
            ends = [start + length for start, length in zip(starts, lengths, strict=True)]
            assert starts[1:] == ends[:-1]
            total_ms += ends[-1]
        chunks = len(alignments(client, kind))
        assert abs(total_ms - len(client.audio()) / 48) <= chunks


async def test_a_flush_speaks_and_keeps_the_socket(room: Room) -> None:
    async with peer(room, ONE) as client:
        await client.send(text="No sign of an end", flush=True)
        while not alignments(client):
            await client.next()
        await client.send(text="And ", flush=False)
        await client.send(text="then more.")
        await client.send(text="")
        assert await client.end() == 1000
    assert spoken(client).split() == ["No", "sign", "of", "an", "end", "And", "then", "more."]


async def test_auto_mode_waits_for_nothing(room: Room) -> None:
    async with peer(room, f"{MANY}&auto_mode=true") as client:
        await client.send(text="A phrase without an end", context_id="a")
        while not alignments(client, contextId="a"):
            await client.next()
        await client.send(text="and another", context_id="a")
        while len(alignments(client, contextId="a")) < 2:
            await client.next()


async def test_contexts_speak_at_the_same_time(slow_room: Room) -> None:
    async with nothing_left(slow_room), peer(slow_room, MANY) as client:
        for name in "abc":
            await client.send(text=TEXT, context_id=name)
            await client.send(context_id=name, flush=True)
            await client.send(context_id=name, close_context=True)
        for _ in "abc":
            await client.until(isFinal=True)
        order = [item["contextId"] for item in client.heard if item.get("audio")]
        assert sum(a != b for a, b in pairwise(order)) > 5
        lengths = {len(client.audio(contextId=name)) for name in "abc"}
        assert len(lengths) == 1 and lengths != {0}
        for name in "abc":
            assert spoken(client, contextId=name).split() == TEXT.split()
            assert len(client.messages(isFinal=True, contextId=name)) == 1


@pytest.mark.parametrize("first", [{}, {"text": "Not flushed. "}])
async def test_closing_a_context_is_the_barge_in(slow_room: Room, first: dict[str, str]) -> None:
    async with nothing_left(slow_room), peer(slow_room, MANY) as client:
        await client.send(text="".join(LONG), context_id="a", flush=True)
        while not client.audio():
            await client.next()
        await asyncio.sleep(0.3)
        if first:
            await client.send(context_id="a", **first)
        await client.send(context_id="a", close_context=True)
        await client.until(isFinal=True, contextId="a")
        heard = len(client.audio())
        await check_silence(slow_room)
        slow_room.model.log.clear()
        await client.send(text=TEXT, context_id="b")
        await client.send(context_id="b", flush=True)
        await client.send(context_id="b", close_context=True)
        await client.until(isFinal=True, contextId="b")
        assert len(client.audio(contextId="a")) == heard
        check_whole(slow_room, client.audio(contextId="b"), 24_000)


@pytest.mark.parametrize("flush", [{"flush": True}, {"text": "", "flush": True}])
async def test_closing_what_was_flushed_lets_it_end(slow_room: Room, flush: Any) -> None:
    async with peer(slow_room, MANY) as client:
        slow_room.model.log.clear()
        await client.send(text=TEXT, context_id="a")
        await client.send(context_id="a", **flush)
        await asyncio.sleep(0.4)
        await client.send(context_id="a", close_context=True)
        await client.until(isFinal=True)
        check_whole(slow_room, client.audio(), 24_000)


async def test_text_that_is_flushed_and_closed_in_one_breath_is_spoken(slow_room: Room) -> None:
    async with peer(slow_room, MANY) as client:
        slow_room.model.log.clear()
        await client.send(text=TEXT, context_id="a", flush=True)
        await client.send(context_id="a", close_context=True)
        await client.until(isFinal=True)
        check_whole(slow_room, client.audio(), 24_000)


async def test_closing_twice_stops_at_once(slow_room: Room) -> None:
    async with peer(slow_room, MANY) as client:
        await client.send(text="".join(LONG), context_id="a")
        await client.send(context_id="a", flush=True)
        await client.send(context_id="a", close_context=True)
        while not client.audio():
            await client.next()
        await client.send(context_id="a", close_context=True)
        await client.until(isFinal=True, contextId="a")
        await check_silence(slow_room)
        await client.send(context_id="a", close_context=True)
        await client.send(close_socket=True)
        assert await client.end() == 1000
        assert len(client.messages(isFinal=True)) == 1


async def test_closing_the_socket_speaks_everything_first(room: Room) -> None:
    async with nothing_left(room), peer(room, MANY) as client:
        await client.send(text=" ", context_id="never used")
        await client.send(text=TEXT, context_id="a")
        await client.send(close_socket=True)
        assert await client.end() == 1000
        assert spoken(client, contextId="a").split() == TEXT.split()
        ended = [item["contextId"] for item in client.messages(isFinal=True)]
        assert sorted(ended) == ["a", "never used"]


async def test_no_more_than_five_contexts(room: Room) -> None:
    async with peer(room, MANY) as client:
        for number in range(6):
            await client.send(text=" ", context_id=str(number))
        refused = await client.until(error="max_active_conversations")
        assert refused["contextId"] == "5" and refused["code"] == 1008
        await client.send(context_id="0", close_context=True)
        await client.until(isFinal=True, contextId="0")
        await client.send(text=TEXT, context_id="5")
        await client.send(context_id="5", flush=True)
        await client.send(context_id="5", close_context=True)
        assert (await client.until(isFinal=True, contextId="5")) and client.audio(contextId="5")


async def test_an_idle_socket_is_closed_and_an_empty_text_keeps_it(tmp_path: Path) -> None:
    room = make_room(tmp_path)
    target = f"{MANY}&inactivity_timeout=1"
    async with serving(room), nothing_left(room), peer(room, target) as client:
        for _ in range(4):
            await asyncio.sleep(0.5)
            await client.send(text="")
        assert client.heard == []
        told = await client.until(error="input_timeout_exceeded")
        assert "1 s" in told["message"]
        assert await client.end() == 4408


async def test_every_output_format(room: Room) -> None:
    for name, output in OUTPUTS.items():
        target = f"/v1/text-to-speech/anna/stream-input?output_format={name}"
        async with peer(room, target) as client:
            await client.send(text="A sentence to be heard in every format. ")
            await client.send(text="")
            assert await client.end() == 1000
        samples, rate_hz = decode(client.audio(), output.format, output.sample_rate_hz)
        assert rate_hz == output.sample_rate_hz, name
        assert abs(pitch_hz(samples, rate_hz) / TONE_HZ - 1) < 0.001, name
        assert np.abs(samples).max() > 0.4, name


async def test_settings_of_ours_and_theirs(room: Room) -> None:
    async with peer(room, f"{MANY}&language_code=en&model_id=eleven_flash_v2_5") as client:
        await client.send(
            text=" ",
            context_id="a",
            voice_settings={"speed": 1.25, "stability": 1.0},
            generation_config={"chunk_length_schedule": [50, 120]},
            emotion={"vector": [1, 0, 0, 0, 0, 0, 0, 0]},
            sampling={"seed": 7},
        )
        await client.send(text=TEXT, context_id="a")
        await client.send(close_socket=True)
        await client.end()
    request = room.model.takes[-1].request
    assert (request.voice, request.language, request.speed) == ("anna", "en", 1.25)
    assert request.seed == 7
    assert request.chunking.first_max_tokens == 13
    assert request.emotion.vector == (1.0, *[0.0] * 7)


REFUSED: tuple[tuple[dict[str, Any], str, str], ...] = (
    ({"voice_settings": {"speed": 9}}, "bad_config", "speed"),
    ({"voice_settings": [1]}, "bad_config", "voice_settings"),
    ({"generation_config": 3}, "bad_config", "generation_config"),
    ({"generation_config": {"chunk_length_schedule": [5]}}, "bad_config", "50 to 500"),
    ({"text": "a\ud800b"}, "invalid_text", "surrogate"),
    ({"text": "x" * 3000}, "text_too_long", "2000"),
    ({"text": 5}, "bad_message", "text"),
)


async def test_refusals_name_what_was_wrong(room: Room) -> None:
    async with nothing_left(room), peer(room, MANY) as client:
        for number, (message, code, word) in enumerate(REFUSED):
            await client.send(**{"text": "Hello.", "context_id": str(number), **message})
            told = await client.until(error=code)
            assert word in told["message"]
            if code != "bad_message":
                assert told["contextId"] == str(number)
                await client.until(isFinal=True, contextId=str(number))
        await client.send(text=TEXT, context_id="0")
        await client.send(close_socket=True)
        assert await client.end() == 1000
        assert client.audio(contextId="0")


GARBAGE = (b"binary", "no json", "[]", '{"context_id": 5}', '{"context_id": "\\u0000"}')


async def test_garbage_is_refused_and_at_last_closed(room: Room) -> None:
    async with nothing_left(room):
        for data in GARBAGE:
            async with peer(room, MANY) as client:
                for _ in range(3):
                    await client.socket.send(data)
                assert await client.end() == 1008
                assert len(client.messages(error="bad_message")) == 3


async def test_the_native_protocol_does_not_shine_through(room: Room) -> None:
    async with peer(room, MANY) as client:
        await client.send(type="session.config", framing="plain", encoding="base64")
        await client.send(type="input.text", text=TEXT, context_id="a", sample_rate=8000)
        await client.send(close_socket=True)
        assert await client.end() == 1000
    assert not [item for item in client.heard if "type" in item]
    assert len(client.audio()) > 24_000


UNSERVED = (
    ("nobody/stream-input", 404, "voice_not_found"),
    ("broken/multi-stream-input", 404, "voice_not_found"),
    ("anna/stream-input?output_format=pcm_1", 400, "unsupported_format"),
    ("anna/stream-input?language_code=tlh", 422, "bad_config"),
    ("anna/stream-input?inactivity_timeout=181", 422, "bad_config"),
    ("anna/stream-input?inactivity_timeout=x", 422, "bad_config"),
    (f"anna/stream-input?inactivity_timeout={'9' * 5000}", 422, "bad_config"),
)


async def test_what_cannot_be_served_is_refused_in_the_handshake(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    for target, status, code in UNSERVED:
        with pytest.raises(InvalidStatus) as refused:
            async with peer(room, f"/v1/text-to-speech/{target}"):
                pass
        answer = refused.value.response
        assert answer.status_code == status
        assert json.loads(answer.body or b"")["detail"]["status"] == code
    assert not [entry for entry in caplog.records if entry.levelname == "ERROR"]


async def test_a_failing_engine_ends_its_context_only(tmp_path: Path) -> None:
    room = make_room(tmp_path, ToneScript(prepare_failures={"BOOM": SynthesisFailed("it broke")}))
    async with serving(room), peer(room, MANY) as client:
        await client.send(text="BOOM. ", context_id="a", flush=True)
        await client.until(error="synthesis_failed", contextId="a")
        await client.until(isFinal=True, contextId="a")
        await client.send(text=TEXT, context_id="b")
        await client.send(close_socket=True)
        assert await client.end() == 1000
        assert client.audio(contextId="b")


async def test_a_client_that_leaves_stops_its_speech(slow_room: Room) -> None:
    async with nothing_left(slow_room):
        async with peer(slow_room, MANY) as client:
            await client.send(text="".join(LONG), context_id="a", flush=True)
            while not client.audio():
                await client.next()
        await check_silence(slow_room)


async def test_a_stalled_reader_is_let_go(tmp_path: Path) -> None:
    script = ToneScript(runaway=frozenset({0}), slice_ms=1000.0)
    room = make_room(tmp_path, script, write_stall_s=0.4)

    async def stopped() -> bool:
        return room.model.live == 0 and room.service.sessions == 0

    async with serving(room), nothing_left(room):
        url = room.url.replace("http", "ws", 1) + MANY.replace("24000", "48000")
        async with connect(url, max_queue=1) as socket:
            await socket.send(json.dumps({"text": TEXT, "context_id": "a", "flush": True}))
            await socket.recv()
            await eventually(stopped, 15.0)
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    await socket.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 4413


async def test_draining_finishes_what_is_live(slow_room: Room) -> None:
    async with peer(slow_room, MANY) as client:
        slow_room.model.log.clear()
        await client.send(text=TEXT, context_id="a")
        await client.send(context_id="a", flush=True)
        await client.send(context_id="a", close_context=True)
        while not client.audio():
            await client.next()
        assert slow_room.server is not None
        slow_room.server.should_exit = True
        assert await client.end() == 1012
        assert client.messages(error="system_busy") and client.messages(isFinal=True)
        check_whole(slow_room, client.audio(), 24_000)
