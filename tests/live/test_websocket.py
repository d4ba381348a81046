"""The native WebSocket over real sockets."""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import random
import time
from pathlib import Path

import av
import pytest

from server.websocket import FORMATS
from streaming import wire
from streaming.errors import EngineFailed, SynthesisFailed
from tests.fakes import ToneScript
from tests.live.peers import nothing_left, talk
from tests.live.talks import TEXT, check_accounts
from tests.server.rooms import Room, make_room, serving
from tests.speakers.sounds import noise


async def test_a_text_comes_back_as_sound(room: Room) -> None:
    async with nothing_left(room), talk(room) as client:
        greeting = client.all(wire.SessionCreated)[0]
        assert greeting.limits["message_characters"] == 2_000
        assert client.socket.protocol.extensions == []
        for at in range(0, len(TEXT), 7):
            await client.send("input.text", text=TEXT[at : at + 7])
        await client.send("input.done")
        end = await client.until(wire.SessionDone)
        assert check_accounts(client) is end
        assert len(client.pcm) == 2 * end.total_samples > 22_050
        assert end.characters_in == len(TEXT)
        assert {m.sample_rate for m in client.all(wire.AudioStart)} == {22_050}
        assert end.timings["first_audio_ms"] > 0
        await client.send("session.close")
        assert await client.close_code() == 1000


async def test_the_first_byte_leaves_before_the_last_chunk_is_made(slow_room: Room) -> None:
    async with talk(slow_room) as client:
        await client.send("input.text", text=TEXT * 4)
        await client.send("input.done")
        await client.until(bytes)
        assert [entry for entry in slow_room.model.log if entry[0] == "end"] == []
        await client.until(wire.SessionDone)
        check_accounts(client)


async def test_text_is_spoken_while_it_is_written(room: Room) -> None:
    async with talk(room) as client:
        await client.send("input.text", text="Hello there, my dear old friend. ")
        await client.send("input.flush")
        await client.until(wire.AudioDone)
        await client.send("input.text", text="What a day", chunking={"flush_after_ms": 50})
        await client.send("input.done")
        end = await client.until(wire.SessionDone)
        assert end.total_sentences == 2
        check_accounts(client)


async def test_a_clause_is_spoken_when_no_more_text_comes(room: Room) -> None:
    async with talk(room, chunking={"flush_after_ms": 100}) as client:
        await client.send("input.text", text="Well, hello.")
        await client.until(wire.AudioDone)
        await client.send("input.done")
        await client.until(wire.SessionDone)


@pytest.mark.parametrize("rate_hz", [8_000, 48_000])
async def test_another_rate(room: Room, rate_hz: int) -> None:
    async with talk(room, sample_rate=rate_hz) as client:
        await client.send("input.text", text="Hello there.")
        await client.send("input.done")
        end = await client.until(wire.SessionDone)
        assert {m.sample_rate for m in client.all(wire.AudioStart)} == {rate_hz}
        assert len(client.pcm) == 2 * end.total_samples
        assert end.total_samples == pytest.approx(12 / 60 * rate_hz, rel=0.5)


async def test_base64_holds_the_same_samples(room: Room) -> None:
    async with talk(room, sampling={"seed": 1}) as plain, talk(room) as coded:
        await coded.send("session.config", encoding="base64", sampling={"seed": 1})
        for client in (plain, coded):
            await client.send("input.text", text=TEXT)
            await client.send("input.done")
            await client.until(wire.SessionDone)
        deltas = coded.all(wire.AudioDelta)
        assert coded.pcm == b""
        assert b"".join(base64.b64decode(delta.audio) for delta in deltas) == plain.pcm
        assert [delta.sequence for delta in deltas] == list(range(len(deltas)))


@pytest.mark.parametrize("audio_format", [name for name in FORMATS if name != "pcm"])
async def test_every_chunk_of_another_format_is_a_file(room: Room, audio_format: str) -> None:
    async with talk(room, format=audio_format) as client:
        await client.send("input.text", text=TEXT)
        await client.send("input.done")
        end = await client.until(wire.SessionDone)
    check_accounts(client, audio_format=audio_format)
    files: list[bytes] = []
    for item in client.heard:
        if isinstance(item, wire.AudioStart):
            files.append(b"")
        elif isinstance(item, bytes):
            files[-1] += item
    dones = client.all(wire.AudioDone)
    assert [len(data) for data in files] == [done.total_bytes for done in dones]
    for data, done in zip(files, dones, strict=True):
        with av.open(io.BytesIO(data)) as container:
            frames = [frame for frame in container.decode(audio=0)]
        duration_s = sum(frame.samples / frame.sample_rate for frame in frames)
        assert duration_s * 1000 == pytest.approx(done.duration_ms, abs=120)
    assert end.total_samples == sum(done.samples for done in dones)


async def test_times_and_subtitles(room: Room) -> None:
    async with talk(room, timestamps="word", subtitles="vtt") as client:
        await client.send("input.text", text=TEXT + "[pause:0.5s]The end.")
        await client.send("input.done")
        end = await client.until(wire.SessionDone)
        check_accounts(client)
    assert end.subtitles.startswith("WEBVTT")
    times = [done.timestamps for done in client.all(wire.AudioDone)]
    assert times[0]["start_ms"] == 0
    assert all(a["end_ms"] == pytest.approx(b["start_ms"]) for a, b in itertools.pairwise(times))
    assert times[-1]["end_ms"] == pytest.approx(end.total_samples / 22.05)
    words = [word["text"] for chunk in times for word in chunk["words"]]
    assert words == [*TEXT.split(), "The", "end."]
    assert times[-2]["words"][-1]["end_ms"] <= times[-1]["start_ms"] - 490


async def test_tagged_contexts_interleave_and_never_skip(slow_room: Room) -> None:
    async with talk(slow_room, framing="tagged") as client:
        for context_id in ("a", "b"):
            await client.send("input.text", context_id=context_id, text=TEXT * 2)
            await client.send("input.done", context_id=context_id)
        for _ in range(2):
            await client.until(wire.SessionDone)
        frames = [wire.untag(item) for item in client.heard if isinstance(item, bytes)]
        order = [frame[0] for frame in frames]
        assert order != sorted(order)
        for number, context_id in enumerate("ab"):
            mine = [frame for frame in frames if frame[0] == number]
            assert [frame[1] for frame in mine] == list(range(len(mine)))
            at = 0
            for _, _, first_sample, audio in mine:
                assert first_sample == at
                at += len(audio) // 2
            assert at == check_accounts(client, context_id).total_samples


async def test_plain_contexts_speak_one_after_another(slow_room: Room) -> None:
    async with talk(slow_room) as client:
        for context_id in ("a", "b"):
            await client.send("input.text", context_id=context_id, text=TEXT)
        await client.send("input.done", context_id="b")
        await client.send("input.done", context_id="a")
        for _ in range(2):
            await client.until(wire.SessionDone)
        ids = [m.context_id for m in client.all(wire.AudioStart)]
        assert ids == sorted(ids)
        total = sum(check_accounts(client, c).total_samples for c in "ab")
        assert len(client.pcm) == 2 * total


async def test_overrides_change_the_voice_in_mid_context(room: Room) -> None:
    async with talk(room) as client:
        await client.send("input.text", text="Hello there. ")
        await client.send("input.text", text="And hello from me.", voice="bert")
        await client.send("input.done")
        await client.until(wire.SessionDone)
        check_accounts(client)
        assert [take.request.voice for take in room.model.takes] == ["anna", "bert"]


async def test_cancel_at_random_moments(slow_room: Room) -> None:
    chance = random.Random(7)
    waits_ms: list[float] = []
    async with nothing_left(slow_room), talk(slow_room) as client:
        for turn in range(20):
            await client.send("input.text", context_id=f"c{turn}", text=TEXT * 3)
            await asyncio.sleep(chance.uniform(0, 0.06))
            before_s = time.perf_counter()
            await client.send("input.cancel", context_id=f"c{turn}", played_samples=1000)
            cancelled = await client.until(wire.Cancelled)
            waits_ms.append((time.perf_counter() - before_s) * 1000)
            assert cancelled.context_id == f"c{turn}"
            assert (cancelled.heard_text_end > 0) == (cancelled.sent_samples > 0)
            at = len(client.heard)
            await client.send("ping")
            await client.until(wire.Pong)
            assert len(client.heard) == at + 1, "something followed cancelled"
    assert sorted(waits_ms)[18] < 100


async def test_a_client_that_vanishes_stops_its_speech(slow_room: Room) -> None:
    async with nothing_left(slow_room):
        async with talk(slow_room) as client:
            await client.send("input.text", text=TEXT * 10)
            await client.until(bytes)
            client.socket.transport.abort()
        async with talk(slow_room) as client:
            await client.send("input.text", text="Hi.")
            await client.send("input.done")
            await client.until(wire.SessionDone)


async def test_surrogates_over_two_messages(room: Room) -> None:
    async with talk(room) as client:
        await client.socket.send('{"type": "input.text", "text": "So happy \\ud83d"}')
        await client.socket.send('{"type": "input.text", "text": "\\ude00 today."}')
        await client.send("input.done")
        end = await client.until(wire.SessionDone)
        assert "\U0001f600" in "".join(m.sentence_text for m in client.all(wire.AudioStart))
        assert end.characters_in == len("So happy \U0001f600 today.")


@pytest.mark.parametrize("text", ["", "...", "  \n"])
async def test_nothing_to_speak_is_a_warning(room: Room, text: str) -> None:
    async with talk(room) as client:
        await client.send("input.text", text=text)
        await client.send("input.done")
        end = await client.until(wire.SessionDone)
        assert end.total_samples == 0
        assert [m.code for m in client.all(wire.Warn)] == ["empty_input"]


@pytest.mark.parametrize(
    ("error", "code", "close"),
    [
        (SynthesisFailed("ran away"), "synthesis_failed", None),
        (EngineFailed("died", retry_after_s=3.0), "engine_failed", None),
        (RuntimeError("secret"), "internal", 1011),
    ],
    ids=["synthesis", "engine", "bug"],
)
async def test_failures_are_in_band(
    tmp_path: Path, error: Exception, code: str, close: int | None
) -> None:
    room = make_room(tmp_path, ToneScript(late_failures={0: error}))
    async with serving(room), talk(room) as client:
        await client.send("input.text", text="Hello there.")
        await client.send("input.done")
        failure = await client.error(code)
        assert failure.context_id == "default"
        assert "secret" not in failure.message
        if close is not None:
            assert await client.close_code() == close
        else:
            await client.send("ping")
            await client.until(wire.Pong)


async def test_draining_lets_live_speech_finish(slow_room: Room) -> None:
    async with talk(slow_room) as live, talk(slow_room) as idle:
        await live.send("input.text", text=TEXT)
        await live.send("input.done")
        await live.until(wire.AudioStart)
        assert slow_room.server is not None
        slow_room.server.should_exit = True
        await idle.error("draining")
        assert await idle.close_code() == 1012
        async with talk(slow_room) as late:
            assert await late.close_code() == 1012
            assert late.all(wire.Failure)[0].code == "draining"
        assert await live.close_code() == 1012
        assert len(live.pcm) == 2 * check_accounts(live).total_samples


async def test_a_reference_recording_in_a_message(room: Room) -> None:
    recording = base64.b64encode(noise(1.2, seed=3)).decode()
    async with talk(room, emotion={"reference": recording, "weight": 0.3}) as client:
        await client.send("input.text", text="Hello there.")
        await client.send("input.done")
        await client.until(wire.SessionDone)
    (take,) = room.model.takes
    assert take.emotion_voice not in (None, take.voice)
    assert take.request.emotion.weight == 0.3
