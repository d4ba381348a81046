"""From text chunks to PCM events: look-ahead, order, bounds, cancellation.

One context is one ``speak``: a task dispatches text chunks in order and one task per chunk pulls
the model; the consumer takes what they made in order. Until the consumer has taken the first sample
and come back, nothing of a later chunk runs; then at most ``look_ahead`` chunks are begun and not
fully sent. Closing the generator cancels all of it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from typing import Generic

from streaming import tempo
from streaming.chunks import TextChunk, TextChunker
from streaming.errors import BadConfig, UnsupportedFormat
from streaming.events import AudioFrame, ChunkDone, ChunkStarted, Event, SpeechDone, Warned
from streaming.lanes import Segment
from streaming.outlet import Outlet
from streaming.producer import Bounds, Producer
from streaming.pulse import Pulse
from streaming.reading import expected
from streaming.request import SynthesisRequest
from streaming.seams import gap_after_ms
from streaming.speech import Brake, ChunkReport, Floor, SpeechModel, Take, Urgency, VoiceT

LOWEST_HZ, HIGHEST_HZ = 8_000, 48_000
"""Output rates on offer."""

_FEED_CHARACTERS = 1024
_MIN_CHUNK_TOKENS = 4


class SpeechPipeline(Generic[VoiceT]):
    """Speaks contexts through one model; one instance per server, shared by all contexts.

    At most ``look_ahead`` chunks of a context are begun and not fully sent, and ``ahead_s`` seconds
    of its audio wait for the consumer. A chunk longer than ``chunk_s`` is a runaway. The first
    chunk is at least ``first_min_s`` long if its text allows.
    """

    def __init__(
        self,
        model: SpeechModel[VoiceT],
        *,
        clock: Callable[[], float] = time.monotonic,
        look_ahead: int = 2,
        ahead_s: float = 30.0,
        chunk_s: float = 120.0,
        first_min_s: float = 1.0,
        prepare_threads: int = 2,
    ) -> None:
        rate_hz = model.info.sample_rate_hz
        self.pulse = Pulse(clock)
        self._model = model
        self._clock = clock
        self._first_min_s = first_min_s
        self._bounds = Bounds(
            look_ahead=look_ahead,
            room=max(1, int(ahead_s * rate_hz / look_ahead)),
            longest_chunk=int(chunk_s * rate_hz),
        )
        self._threads = ThreadPoolExecutor(prepare_threads, thread_name_prefix="prepare")

    async def speak(
        self,
        request: SynthesisRequest,
        voice: VoiceT,
        chunks: AsyncIterator[TextChunk],
        *,
        emotion_voice: VoiceT | None = None,
        brake: Brake | None = None,
        floor: Floor | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of one context; use ``contextlib.aclosing``: closing cancels everything.

        Whoever closes it may pull ``brake`` beforehand: then nothing begins in between either.
        Every chunk takes the ``floor``, which is left when all that were begun are sent.

        Raises ``SpeechError``; anything unexpected becomes ``Internal`` with the request id.
        """
        rate_hz = request.sample_rate_hz or self._model.info.sample_rate_hz
        if not LOWEST_HZ <= rate_hz <= HIGHEST_HZ:
            raise UnsupportedFormat(
                f"The sample rate must be between {LOWEST_HZ} and {HIGHEST_HZ} Hz.",
                param="sample_rate",
                request_id=request.request_id,
            )
        if request.speed != 1:
            await asyncio.to_thread(tempo.load)
        first = Take(
            voice=voice,
            request=request,
            chunk_index=0,
            urgency=Urgency(first=True),
            emotion_voice=emotion_voice,
        )
        speech = _Speech(
            self._model,
            first,
            bounds=self._bounds,
            clock=self._clock,
            threads=self._threads,
            brake=brake or Brake(),
            pulse=self.pulse,
            floor=floor,
        )
        runner = asyncio.create_task(
            speech.producer.run(chunks), name=f"speak {request.request_id}"
        )
        try:
            async with aclosing(speech.events()) as events:
                async for event in events:
                    yield event
        finally:
            speech.producer.cancel()
            runner.cancel()
            await _ended(runner)

    async def speak_text(
        self,
        request: SynthesisRequest,
        voice: VoiceT,
        text: str,
        *,
        emotion_voice: VoiceT | None = None,
    ) -> AsyncGenerator[Event, None]:
        """``speak`` for a text that is already whole."""
        chunks = _whole(self.chunker(request, limit_characters=len(text)), text)
        events = self.speak(request, voice, chunks, emotion_voice=emotion_voice)
        async with aclosing(chunks), aclosing(events):
            async for event in events:
                yield event

    def chunker(
        self, request: SynthesisRequest, *, limit_characters: int = 1_000_000
    ) -> TextChunker:
        """A chunker with the caps of the request, or the checkpoint's.

        Raises ``BadConfig`` when a cap is out of the model's range.
        """
        info = self._model.info
        first = request.chunking.first_max_tokens or info.first_chunk_tokens
        largest = request.chunking.max_tokens or info.max_chunk_tokens
        for name, tokens in (("first_max_tokens", first), ("max_tokens", largest)):
            if not _MIN_CHUNK_TOKENS <= tokens <= info.limit_tokens:
                raise BadConfig(
                    f"chunking.{name} must be from {_MIN_CHUNK_TOKENS} to {info.limit_tokens}.",
                    param=f"chunking.{name}",
                )
        return TextChunker(
            estimate_tokens=expected(self._model.estimate_tokens),
            first_max_tokens=first,
            max_tokens=largest,
            first_min_tokens=math.ceil(self._first_min_s * info.tokens_per_second),
            limit_characters=limit_characters,
        )

    def close(self) -> None:
        """Let the preparing threads end; contexts that still wait for one fail."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Speech(Generic[VoiceT]):
    """The sending half of a context: numbers, joins and accounts for what the producer makes."""

    def __init__(
        self,
        model: SpeechModel[VoiceT],
        first: Take[VoiceT],
        *,
        bounds: Bounds,
        clock: Callable[[], float],
        threads: ThreadPoolExecutor,
        brake: Brake,
        pulse: Pulse,
        floor: Floor | None,
    ) -> None:
        model_hz = model.info.sample_rate_hz
        self.producer = Producer(
            model,
            first,
            bounds=bounds,
            clock=clock,
            threads=threads,
            sent_lead_s=self._sent_lead_s,
            brake=brake,
            pulse=pulse,
            floor=floor,
        )
        speed = first.request.speed
        self._gap_ms = first.request.chunking.gap_ms / speed
        self._output_hz = first.request.sample_rate_hz or model_hz
        self._outlet = Outlet(from_hz=model_hz, to_hz=self._output_hz, speed=speed)
        self._clock = clock
        self._first_out_s: float | None = None
        self._characters_spoken = 0

    async def events(self) -> AsyncGenerator[Event, None]:
        """What the consumer sees, in order."""
        while (lane := await self.producer.next_lane()) is not None:
            yield self._started(lane.segment)
            first_sample, report = self._outlet.samples, None
            frames = self._outlet.begin(pause_ms=lane.segment.prepared.pause_before_ms)
            while True:
                for frame in frames:
                    if self._first_out_s is None:
                        self._first_out_s = self._clock()
                    yield frame
                    self.producer.went_out(lane)
                if report is not None:
                    break
                item = await lane.get()
                if isinstance(item, ChunkReport):
                    report, frames = item, self._ended(lane.segment)
                else:
                    frames = self._outlet.push(item)
            samples = self._outlet.samples - first_sample
            yield ChunkDone(
                index=lane.segment.index,
                samples=samples,
                duration_ms=samples * 1000 / self._output_hz,
                report=replace(report, trimmed_ms=report.trimmed_ms + self._outlet.trimmed_ms),
            )
            self.producer.sent(lane)
        if not self._outlet.samples:
            yield Warned(code="empty_input", message="the context had nothing to speak")
        yield self._done()

    def _sent_lead_s(self) -> float:
        """Seconds of audio the listener still has if it plays since the first sample."""
        if self._first_out_s is None:
            return 0.0
        return self._outlet.samples / self._output_hz - (self._clock() - self._first_out_s)

    def _started(self, segment: Segment) -> ChunkStarted:
        self._characters_spoken += segment.text_end - segment.text_start
        return ChunkStarted(
            index=segment.index,
            text=segment.prepared.text,
            text_start=segment.text_start,
            text_end=segment.text_end,
            normalized_text=segment.prepared.normalized_text,
            first_sample=self._outlet.samples,
            sample_rate_hz=self._output_hz,
        )

    def _ended(self, segment: Segment) -> list[AudioFrame]:
        gap_ms = gap_after_ms(segment.prepared.text, self._gap_ms)
        pause_ms = segment.prepared.pause_after_ms
        gap_ms = 0.0 if segment.is_last else max(gap_ms, pause_ms)
        return self._outlet.end(gap_ms=gap_ms, overlap=segment.joins and not gap_ms)

    def _done(self) -> SpeechDone:
        made, samples = self.producer, self._outlet.samples
        first_out_s = self._first_out_s
        waited_s = None if first_out_s is None else first_out_s - made.arrived_s
        return SpeechDone(
            chunks=made.segments,
            samples=samples,
            characters_in=made.characters_in,
            characters_spoken=self._characters_spoken,
            first_audio_ms=None if waited_s is None else waited_s * 1000,
            queue_ms=max(0.0, made.prepared_s - made.arrived_s) * 1000,
            rtf=made.computing.total_s * self._output_hz / samples if samples else 0.0,
        )


async def _ended(task: asyncio.Task[None]) -> None:
    """Wait for a task that ends soon; whoever is cancelled meanwhile is cancelled afterwards."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def _whole(chunker: TextChunker, text: str) -> AsyncGenerator[TextChunk, None]:
    for start in range(0, len(text), _FEED_CHARACTERS):
        for chunk in chunker.feed(text[start : start + _FEED_CHARACTERS]):
            yield chunk
    for chunk in chunker.finish():
        yield chunk
