"""A Pipecat bot that does nothing but speak: a TTS service between a script and a listener."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of audioop, which is not our business
    from pipecat.frames.frames import (
        EndFrame,
        ErrorFrame,
        InterruptionFrame,
        LLMFullResponseEndFrame,
        LLMFullResponseStartFrame,
        LLMTextFrame,
        TTSAudioRawFrame,
        TTSStoppedFrame,
        TTSTextFrame,
    )
    from pipecat.pipeline.pipeline import Pipeline
    from pipecat.pipeline.worker import PipelineParams, PipelineWorker
    from pipecat.processors.frame_processor import FrameDirection
    from pipecat.tests.utils import QueuedFrameProcessor
    from pipecat.workers.runner import WorkerRunner

RATE_HZ = 24_000
TIMEOUT_S = 15.0


class Bot:
    """What a language model and a listener do to a running pipeline."""

    def __init__(self, worker: Any, heard: asyncio.Queue[Any]) -> None:
        self._worker = worker
        self._heard = heard
        self.audio = b""
        self.words: list[tuple[str, float]] = []

    async def say(self, *tokens: str) -> None:
        """A language model's answer, token by token."""
        self.audio, self.words = b"", []
        await self._worker.queue_frame(LLMFullResponseStartFrame())
        for token in tokens:
            await self._worker.queue_frame(LLMTextFrame(token))
        await self._worker.queue_frame(LLMFullResponseEndFrame())

    async def hear(self) -> bytes:
        """The utterance, to its end."""
        await self._until(TTSStoppedFrame)
        return self.audio

    async def hear_some(self) -> bytes:
        """The first sounds of the utterance."""
        await self._until(TTSAudioRawFrame)
        return self.audio

    async def interrupt(self) -> None:
        """The user speaks."""
        await self._worker.queue_frame(InterruptionFrame())
        await self._until(InterruptionFrame)

    async def _until(self, kind: Any) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                frame = await self._heard.get()
                assert not isinstance(frame, ErrorFrame), frame
                if isinstance(frame, TTSAudioRawFrame):
                    assert (frame.sample_rate, frame.num_channels) == (RATE_HZ, 1)
                    self.audio += frame.audio
                elif isinstance(frame, TTSTextFrame):
                    self.words.append((frame.text, frame.pts / 1e9 if frame.pts else 0.0))
                if isinstance(frame, kind):
                    return


@asynccontextmanager
async def bot(service: Any) -> AsyncIterator[Bot]:
    """A running pipeline around a TTS service; ends it as a person hanging up does."""
    heard: asyncio.Queue[Any] = asyncio.Queue()
    listener = QueuedFrameProcessor(queue=heard, queue_direction=FrameDirection.DOWNSTREAM)
    worker = PipelineWorker(
        Pipeline([service, listener]),
        params=PipelineParams(audio_out_sample_rate=RATE_HZ),
        cancel_on_idle_timeout=False,
        enable_rtvi=False,
    )
    started = asyncio.Event()
    worker.add_event_handler("on_pipeline_started", lambda *_: started.set())
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await started.wait()
        yield Bot(worker, heard)
    finally:
        await worker.queue_frame(EndFrame())
        await asyncio.wait_for(running, TIMEOUT_S)
