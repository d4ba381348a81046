"""Order, look-ahead, bounds, failures and cancellation of the pipeline."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pytest

from streaming.errors import (
    BadConfig,
    UnsupportedFormat,
)
from streaming.events import AudioFrame, ChunkDone, ChunkStarted, SpeechDone, Warned
from streaming.pipeline import SpeechPipeline
from streaming.request import Chunking, SynthesisRequest
from streaming.speech import ChunkReport, Prepared, Samples, Take
from streaming.worker import DeviceWorker
from tests.fakes import ManualClock, SilentPlayer, Tone, ToneModel, ToneScript
from tests.streaming.contexts import (
    PIECES,
    REQUEST,
    TEXT,
    VOICE,
    collect,
    done_of,
    pcm_of,
    text_chunks,
    until,
)


@pytest.mark.parametrize("rate_hz", [None, 8_000, 24_000, 48_000])
async def test_events_come_in_order_and_account_for_every_sample(rate_hz: int | None) -> None:
    model = ToneModel()
    request = replace(REQUEST, sample_rate_hz=rate_hz)
    events = await collect(SpeechPipeline(model).speak_text(request, VOICE, TEXT))
    at, index, in_chunk = 0, -1, 0
    for event in events[:-1]:
        if isinstance(event, ChunkStarted):
            assert (event.index, event.first_sample) == (index + 1, at)
            assert TEXT[event.text_start : event.text_end] == event.text
            assert event.sample_rate_hz == (rate_hz or 22_050)
            index, in_chunk = event.index, 0
        elif isinstance(event, AudioFrame):
            assert event.first_sample == at
            assert 0 < event.samples <= 0.04 * (rate_hz or 22_050)
            at += event.samples
            in_chunk += event.samples
        else:
            assert isinstance(event, ChunkDone)
            assert (event.index, event.samples) == (index, in_chunk)
            assert event.duration_ms == pytest.approx(in_chunk * 1000 / (rate_hz or 22_050))
            assert event.report.codes > 0
    done = done_of(events)
    assert index >= 2
    assert (done.chunks, done.samples) == (index + 1, at)
    assert done.samples == len(pcm_of(events)) // 2
    assert done.characters_in == len(TEXT)
    assert done.characters_spoken == len(TEXT) - index  # one space at each join is nobody's
    assert done.first_audio_ms is not None
    assert 0 <= done.queue_ms <= done.first_audio_ms
    assert done.rtf > 0


async def test_the_length_is_that_of_the_chunks_and_their_gaps() -> None:
    model = ToneModel()
    request = replace(REQUEST, chunking=Chunking(gap_ms=200))
    events = await collect(
        SpeechPipeline(model).speak(request, VOICE, text_chunks(["One, ", "Two. ", "Three "]))
    )
    samples = [event.samples for event in events if isinstance(event, ChunkDone)]
    gap = 22_050 // 5
    assert samples == [
        model.samples_of("One,") + gap // 2,
        model.samples_of("Two.") + gap,
        model.samples_of("Three"),
    ]


async def test_look_ahead_on_a_manual_clock() -> None:
    clock = ManualClock()
    script = ToneScript(delay_s={"codes": 1.0, "slice": 0.25})
    model = ToneModel(script=script, sleep=clock.sleep)
    pipeline = SpeechPipeline(model, clock=clock)
    fully_sent = 0
    first_out = False
    async with aclosing(pipeline.speak(REQUEST, VOICE, text_chunks())) as events:
        while True:
            awaited = asyncio.ensure_future(anext(events, None))
            while not awaited.done():
                await clock.settle()
                await asyncio.sleep(0.001)  # prepare runs in a thread
                begun = [entry for entry in model.log if entry[0] == "begin"]
                prepared = [entry for entry in model.log if entry[0] == "prepare"]
                if not first_out:
                    assert len(prepared) <= 1
                    assert len(begun) <= 1
                assert len(prepared) <= fully_sent + 2
                assert len(begun) <= fully_sent + 2
                assert model.live <= 2
                await clock.advance(0.05)
            event = awaited.result()
            if event is None:
                break
            if isinstance(event, AudioFrame) and not first_out:
                ended = [entry for entry in model.log if entry[0] == "end"]
                assert ended == []
                first_out = True
            fully_sent += isinstance(event, ChunkDone)
    assert fully_sent == len(PIECES)
    assert model.most_live == 2
    begins = [index for what, _, index in model.log if what == "begin"]
    assert begins == [0, 1, 2, 3]


async def test_nothing_later_runs_while_the_first_sample_is_not_taken() -> None:
    model = ToneModel(script=ToneScript(slice_ms=20))
    pipeline = SpeechPipeline(model)
    async with aclosing(pipeline.speak(REQUEST, VOICE, text_chunks())) as events:
        async for event in events:
            if isinstance(event, AudioFrame):
                await asyncio.sleep(0.02)
                assert [what for what, _, _ in model.log].count("prepare") == 1
                break
        await anext(events)
        await until(lambda: ("begin", PIECES[1].strip(), 1) in model.log)
        await asyncio.sleep(0.02)
        assert {index for what, _, index in model.log if what == "begin"} == {0, 1}
        assert [what for what, _, _ in model.log].count("prepare") == 2


async def test_the_first_audio_leaves_before_the_second_chunk_is_finished() -> None:
    model = ToneModel(script=ToneScript(delay_s={"slice": 0.005}))
    pipeline = SpeechPipeline(model)
    async with aclosing(pipeline.speak(REQUEST, VOICE, text_chunks())) as events:
        async for event in events:
            if isinstance(event, AudioFrame):
                break
        assert ("end", PIECES[0].strip(), 0) not in model.log
        assert all(index <= 0 for _, _, index in model.log)


async def test_look_ahead_hides_the_time_of_later_chunks() -> None:
    async def player(look_ahead: int) -> SilentPlayer:
        clock = ManualClock()
        model = ToneModel(
            script=ToneScript(delay_s={"codes": 0.9, "slice": 0.05}), sleep=clock.sleep
        )
        pipeline = SpeechPipeline(model, clock=clock, look_ahead=look_ahead)
        player = SilentPlayer(sample_rate_hz=22_050, clock=clock)

        async def listen() -> None:
            async with aclosing(pipeline.speak(REQUEST, VOICE, text_chunks())) as events:
                async for event in events:
                    if isinstance(event, AudioFrame):
                        player.feed(event.samples)

        task = asyncio.ensure_future(listen())
        while not task.done():
            await asyncio.sleep(0.002)
            await clock.advance(0.02)
        await task
        return player

    with_it, without = await player(2), await player(1)
    assert with_it.underruns == 0
    assert without.underruns > 0
    assert with_it.samples == without.samples


async def test_the_sound_depends_neither_on_timing_nor_on_company() -> None:
    async def digest(script: ToneScript, worker: DeviceWorker | None = None) -> str:
        pipeline = SpeechPipeline(ToneModel(script=script, worker=worker))
        events = await collect(pipeline.speak_text(REQUEST, VOICE, TEXT))
        return hashlib.sha256(pcm_of(events)).hexdigest()

    alone = await digest(ToneScript())
    slow = ToneScript(delay_s={"prepare": 0.003, "codes": 0.01, "slice": 0.001})
    assert await digest(slow) == alone
    assert await digest(ToneScript(slice_ms=37.0)) == alone
    async with DeviceWorker() as worker:
        crowd = [digest(slow, worker) for _ in range(4)]
        assert set(await asyncio.gather(*crowd)) == {alone}


async def test_audio_ahead_of_a_slow_consumer_is_bounded() -> None:
    model = ToneModel(script=ToneScript(runaway=frozenset({0, 1}), slice_ms=50))
    pipeline = SpeechPipeline(model, ahead_s=1.0)
    async with aclosing(pipeline.speak(REQUEST, VOICE, text_chunks())) as events:
        async for event in events:
            if isinstance(event, AudioFrame):
                break
        await asyncio.sleep(0.05)
        slices = [what for what, _, _ in model.log].count("slice")
        assert 0.5 / 0.05 <= slices <= 0.5 / 0.05 + 3  # half for each chunk; one in hand, one out
    assert model.live == 0


async def test_urgency_tells_the_lead_of_the_listener() -> None:
    clock = ManualClock()
    takes: list[Take[Tone]] = []

    class Watched(ToneModel):
        async def speak(
            self, prepared: Prepared, take: Take[Tone]
        ) -> AsyncIterator[Samples | ChunkReport]:
            takes.append(take)
            yield np.full(22_050, 0.1, np.float32)
            await clock.sleep(1.0)
            yield ChunkReport()

    pipeline = SpeechPipeline(Watched(), clock=clock)
    async with aclosing(pipeline.speak(REQUEST, VOICE, text_chunks())) as events:
        async for event in events:
            if isinstance(event, AudioFrame):
                break
        assert takes[0].urgency.key()[0] == 0
        await anext(events)
        await until(lambda: len(takes) == 2)
        first, second = (take.urgency for take in takes)
        assert first.key()[0] == 1
        assert second.key()[0] == 1
        lead_s = first.key()[1]
        assert lead_s == pytest.approx(1.0, abs=0.05)
        assert second.key() > first.key()
        await clock.advance(0.5)
        assert first.key()[1] == pytest.approx(lead_s - 0.5, abs=0.01)
    assert [take.chunk_index for take in takes] == [0, 1]


async def test_several_segments_are_chunks_of_their_own() -> None:
    model = ToneModel(script=ToneScript(segment_characters=8))
    chunks = text_chunks(["One two three four. ", "End."])
    events = await collect(SpeechPipeline(model).speak(REQUEST, VOICE, chunks))
    started = [event for event in events if isinstance(event, ChunkStarted)]
    assert [event.index for event in started] == [0, 1, 2, 3]
    assert [event.text for event in started] == ["One two ", "three fo", "ur.", "End."]
    assert [(event.text_start, event.text_end) for event in started] == [
        (0, 8),
        (8, 16),
        (16, 19),
        (20, 24),
    ]
    assert [index for what, _, index in model.log if what == "begin"] == [0, 1, 2, 3]
    pcm = np.frombuffer(pcm_of(events), "<i2").astype(np.int32)
    assert np.abs(np.diff(pcm)).max() <= 2 * 16384 * np.pi * 220 / 22_050 + 2


@pytest.mark.parametrize("text", ["", "   ", "?! ...", "。。。"])
async def test_nothing_speakable(text: str) -> None:
    events = await collect(SpeechPipeline(ToneModel()).speak_text(REQUEST, VOICE, text))
    warned, done = events
    assert isinstance(warned, Warned)
    assert warned.code == "empty_input"
    assert isinstance(done, SpeechDone)
    assert (done.samples, done.chunks, done.first_audio_ms, done.rtf) == (0, 0, None, 0.0)


async def test_an_unspeakable_first_chunk_does_not_block_the_next() -> None:
    pipeline = SpeechPipeline(ToneModel())
    events = await collect(pipeline.speak(REQUEST, VOICE, text_chunks(["... ", "Words. ", "!! "])))
    assert [type(event) for event in (events[0], events[-1])] == [ChunkStarted, SpeechDone]
    assert done_of(events).chunks == 1


async def test_pauses_of_the_model_are_heard() -> None:
    class Pausing(ToneModel):
        def prepare(self, text: str, request: SynthesisRequest) -> tuple[Prepared, ...]:
            (one,) = super().prepare(text, request)
            return (replace(one, pause_before_ms=100, pause_after_ms=400),)

    model = Pausing()
    events = await collect(SpeechPipeline(model).speak(REQUEST, VOICE, text_chunks(["A. ", "B."])))
    samples = [event.samples for event in events if isinstance(event, ChunkDone)]
    assert samples == [
        model.samples_of("A.") + 2205 + 8820,
        model.samples_of("B.") + 2205,
    ]


async def test_trimmed_silence_is_reported() -> None:
    model = ToneModel(script=ToneScript(silence_ms=500.0))
    events = await collect(SpeechPipeline(model).speak(REQUEST, VOICE, text_chunks(["Words."])))
    (done,) = (event for event in events if isinstance(event, ChunkDone))
    assert done.report.trimmed_ms == pytest.approx(450 + 400, abs=5)


@pytest.mark.parametrize("rate_hz", [7_999, 48_001, -1])
async def test_rates_out_of_range_are_refused(rate_hz: int) -> None:
    request = replace(REQUEST, sample_rate_hz=rate_hz)
    with pytest.raises(UnsupportedFormat) as caught:
        await collect(SpeechPipeline(ToneModel()).speak_text(request, VOICE, "Hello."))
    assert caught.value.param == "sample_rate"


@pytest.mark.parametrize("chunking", [Chunking(first_max_tokens=1), Chunking(max_tokens=97)])
def test_caps_out_of_range_are_refused(chunking: Chunking) -> None:
    with pytest.raises(BadConfig) as caught:
        SpeechPipeline(ToneModel()).chunker(replace(REQUEST, chunking=chunking))
    assert (caught.value.param or "").startswith("chunking.")
