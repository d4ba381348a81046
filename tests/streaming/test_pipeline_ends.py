"""How a context ends early: failures, runaways, cancellation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pytest

from streaming.chunks import TextChunk
from streaming.errors import (
    EngineFailed,
    Internal,
    SpeechError,
    SynthesisFailed,
)
from streaming.events import ChunkDone, Event
from streaming.pipeline import SpeechPipeline
from streaming.speech import ChunkReport, Prepared, Samples, Take, Urgency
from streaming.worker import DeviceWorker
from tests.fakes import Tone, ToneModel, ToneScript
from tests.streaming.contexts import REQUEST, VOICE, collect, others, text_chunks, until


async def test_a_runaway_chunk_is_stopped() -> None:
    model = ToneModel(script=ToneScript(runaway=frozenset({1})))
    pipeline = SpeechPipeline(model, chunk_s=3.0)
    events: list[Event] = []
    with pytest.raises(SynthesisFailed) as caught:
        async with aclosing(pipeline.speak(REQUEST, VOICE, text_chunks())) as stream:
            async for event in stream:
                events.append(event)
    assert caught.value.request_id == "r1"
    assert [event.index for event in events if isinstance(event, ChunkDone)] == [0]
    assert model.live == 0


FAILURES = {
    "prepare": ToneScript(prepare_failures={"third": ValueError("secret path")}),
    "codes": ToneScript(failures={2: ValueError("secret path")}),
    "slice": ToneScript(late_failures={2: ValueError("secret path")}),
}


@pytest.mark.parametrize("stage", FAILURES)
async def test_a_failure_comes_after_everything_before_it(
    stage: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = ToneModel(script=FAILURES[stage])
    before = others()
    events: list[Event] = []
    with pytest.raises(Internal) as caught:
        async with aclosing(SpeechPipeline(model).speak(REQUEST, VOICE, text_chunks())) as stream:
            async for event in stream:
                events.append(event)
    assert [event.index for event in events if isinstance(event, ChunkDone)] == [0, 1]
    assert caught.value.request_id == "r1"
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "secret" in caplog.text
    assert model.live == 0
    assert others() == before


@pytest.mark.parametrize("error", [EngineFailed("down", retry_after_s=1.0), SynthesisFailed("bad")])
async def test_typed_failures_pass_with_the_request_id(error: SpeechError) -> None:
    for script in (ToneScript(failures={0: error}), ToneScript(prepare_failures={"First": error})):
        pipeline = SpeechPipeline(ToneModel(script=script))
        with pytest.raises(type(error)) as caught:
            await collect(pipeline.speak(REQUEST, VOICE, text_chunks()))
        assert caught.value is error
        assert error.request_id == "r1"


async def test_a_failing_text_source_is_a_failure_of_the_context() -> None:
    async def broken() -> AsyncIterator[TextChunk]:
        async for chunk in text_chunks(["One. "]):
            yield replace(chunk, is_last=False)
        raise RuntimeError("source")

    events: list[Event] = []
    with pytest.raises(Internal):
        async with aclosing(SpeechPipeline(ToneModel()).speak(REQUEST, VOICE, broken())) as stream:
            async for event in stream:
                events.append(event)
    assert isinstance(events[-1], ChunkDone)


class OddModel(ToneModel):
    """Breaks the contract of ``speak`` in one way."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self._way = way

    async def speak(
        self, prepared: Prepared, take: Take[Tone]
    ) -> AsyncIterator[Samples | ChunkReport]:
        if self._way == "cancels":
            raise asyncio.CancelledError
        if self._way == "group":
            raise ExceptionGroup("inner", [SynthesisFailed("inner")])
        yield np.full(100, np.nan if self._way == "nan" else 0.1, np.float32)


@pytest.mark.parametrize(
    ("way", "error"),
    [
        ("nan", SynthesisFailed),
        ("no report", SynthesisFailed),
        ("group", SynthesisFailed),
        ("cancels", EngineFailed),
    ],
)
async def test_a_model_that_breaks_its_contract(way: str, error: type[SpeechError]) -> None:
    with pytest.raises(error):
        await collect(SpeechPipeline(OddModel(way)).speak(REQUEST, VOICE, text_chunks()))


STAGES = {
    "nothing yet": ToneScript(delay_s={"prepare": 0.02}),
    "codes": ToneScript(delay_s={"codes": 60.0}),
    "slice": ToneScript(delay_s={"slice": 60.0}),
    "full queue": ToneScript(runaway=frozenset({0})),
    "fast": ToneScript(slice_ms=5),
}


@pytest.mark.parametrize("stage", STAGES)
async def test_closing_leaves_no_task_and_no_iterator(stage: str) -> None:
    before = others()
    for stop_after in range(0, 60, 7):
        model = ToneModel(script=STAGES[stage])
        events = SpeechPipeline(model, ahead_s=2.0).speak(REQUEST, VOICE, text_chunks())

        async def listen(
            events: AsyncGenerator[Event, None] = events, stop_after: int = stop_after
        ) -> None:
            async with aclosing(events):
                seen = 0
                async for _ in events:
                    seen += 1
                    if seen > stop_after and stage in ("fast", "full queue"):
                        break

        task = asyncio.ensure_future(listen())
        await asyncio.sleep(0.0005 * stop_after)
        task.cancel()
        await asyncio.wait([task])
        assert model.live == 0
        assert others() == before
        log = list(model.log)
        await asyncio.sleep(0)
        assert [entry for entry in model.log if entry not in log and entry[0] != "prepare"] == []


async def test_closing_that_is_cancelled_ends_the_work_all_the_same() -> None:
    before = others()
    model = ToneModel(script=STAGES["full queue"])
    events = SpeechPipeline(model, ahead_s=2.0).speak(REQUEST, VOICE, text_chunks())
    for _ in range(8):
        await anext(events)
    closing = asyncio.ensure_future(events.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    assert closing.cancelled()
    assert others() == before
    assert model.live == 0


async def test_closing_marks_the_urgency_and_drops_waiting_items() -> None:
    urgencies: list[Urgency] = []

    class Watched(ToneModel):
        async def speak(
            self, prepared: Prepared, take: Take[Tone]
        ) -> AsyncIterator[Samples | ChunkReport]:
            urgencies.append(take.urgency)
            async with aclosing(super().speak(prepared, take)) as items:  # type: ignore[type-var]
                async for item in items:
                    yield item

    async with DeviceWorker() as worker:
        blocker = asyncio.ensure_future(worker.run(lambda: time.sleep(0.05), Urgency(), name="b"))
        await until(lambda: worker.begun["b"] == 1)
        model = Watched(worker=worker)
        events = SpeechPipeline(model).speak(REQUEST, VOICE, text_chunks())
        task = asyncio.ensure_future(collect(events))
        await until(lambda: worker.waiting == 1)
        task.cancel()
        await asyncio.wait([task])
        assert worker.waiting == 0
        await blocker
        assert worker.begun == {"b": 1}
    assert [urgency.cancelled for urgency in urgencies] == [True]


async def test_a_closed_pipeline_fails_and_does_not_hang() -> None:
    model = ToneModel(script=ToneScript(delay_s={"prepare": 0.02}))
    pipeline = SpeechPipeline(model, prepare_threads=1)
    running = [
        asyncio.ensure_future(collect(pipeline.speak_text(REQUEST, VOICE, "Hello there.")))
        for _ in range(3)
    ]
    await until(lambda: len(model.log) == 1)
    pipeline.close()
    results = await asyncio.gather(*running, return_exceptions=True)
    assert any(isinstance(result, EngineFailed) for result in results)
    with pytest.raises(SpeechError):
        await collect(pipeline.speak_text(REQUEST, VOICE, "Hello there."))
