"""The engine room: every door asks here, and only here, for speech."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import replace
from functools import partial
from typing import Generic

from server import encoding
from server.admission import ANONYMOUS, Admission, Caller, Place
from server.casting import Casting, Part
from server.config import Settings
from server.feed import TextFeed
from server.floor import Floor
from server.health import EngineHealth
from server.meters import SpeechMeter
from server.metrics import Metrics
from server.references import References
from speakers.catalog import Catalog
from speakers.registry import Registry
from speakers.voices import VoiceCache
from streaming.chunks import TextChunk
from streaming.errors import BadConfig, EngineFailed, Internal, SpeechError, UnsupportedFormat
from streaming.events import AudioFrame, Event, SpeechDone, Warned
from streaming.fields import SpeechConfig
from streaming.pipeline import SpeechPipeline
from streaming.speech import Brake, ModelInfo, Recording, SpeechModel, VoiceT

logger = logging.getLogger(__name__)


async def _nothing() -> None:
    """Stand in for a step that a model does not need."""


class SynthesisService(Generic[VoiceT]):
    """Owns the pipeline, the voices and the places; ``server.compose`` builds it.

    ``start`` is awaited before the first synthesis (an engine's start), ``stop`` after the last.
    """

    def __init__(
        self,
        *,
        model: SpeechModel[VoiceT],
        pipeline: SpeechPipeline[VoiceT],
        voices: VoiceCache[VoiceT],
        registry: Registry,
        settings: Settings,
        start: Callable[[], Awaitable[None]] = _nothing,
        stop: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        self.settings = settings
        self.sessions = 0
        self._model = model
        self._pipeline = pipeline
        self.casting = Casting(registry=registry, voices=voices, model=model, settings=settings)
        self._start = start
        self._stop = stop
        self._health = EngineHealth(
            speak_once=self._speak_once, pulse=pipeline.pulse, stall_s=settings.engine_stall_s
        )
        self.warmed = self._health.warmed
        self.metrics = Metrics()
        self.admission = Admission(
            active=settings.limits.active_requests,
            queued=settings.limits.queued_requests,
            retry_after_s=settings.retry_after_s,
        )
        self._watch_gauges()

    @property
    def catalog(self) -> Catalog:
        """Who can speak at present."""
        return self.casting.registry.catalog

    @property
    def references(self) -> References:
        """Recordings by URL or path."""
        return self.casting.references

    @property
    def info(self) -> ModelInfo:
        """Name, rate and limits of the model."""
        return self._model.info

    @property
    def state(self) -> str:
        """``ready``, or why not: ``warming``, ``draining``, ``engine_failed``, ``failed``."""
        return "draining" if self.admission.draining.is_set() else self._health.state

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the engine, warm up in the background; on leaving, stop everything."""
        await self._start()
        self.casting.start()
        try:
            async with self._health.watching():
                yield
        finally:
            await self.casting.aclose()
            self._pipeline.close()
            await self._stop()

    async def drain(self, grace_s: float) -> None:
        """Admit nobody else; return when all have finished, at the latest after ``grace_s``."""
        try:
            async with asyncio.timeout(grace_s):
                await self.admission.drain()
        except TimeoutError:
            logger.warning("%d requests outlived the grace period", self.admission.active)

    def estimate_tokens(self, text: str) -> int:
        """Upper bound of the tokens of a text."""
        return self._model.estimate_tokens(text)

    def check(self, config: SpeechConfig, formats: tuple[str, ...]) -> None:
        """Raise ``BadConfig`` or ``UnsupportedFormat`` for what this model cannot serve."""
        info = self._model.info
        self.casting.check(config)
        if config.format not in formats:
            raise UnsupportedFormat(f"format must be one of {', '.join(formats)}", param="format")
        languages = info.languages
        if config.language is not None and config.language.split("-")[0].lower() not in languages:
            raise BadConfig(f"language must be one of {', '.join(languages)}", param="language")
        self._pipeline.chunker(config.request(request_id="", voice="", seed=0))

    def take_place(self, caller: Caller) -> Place:
        """A place or seat for ``speak``, before anything else is done: a refusal costs little.

        Its taker gives it back with ``admission.leave``. Raises ``SpeechError``.
        """
        try:
            return self.admission.take(caller)
        except SpeechError:
            self.metrics.requests.labels("error").inc()
            raise

    async def speak(
        self,
        request_id: str,
        config: SpeechConfig,
        feed: TextFeed,
        brake: Brake | None = None,
        *,
        caller: Caller | Place = ANONYMOUS,
        recordings: Sequence[Recording] | None = None,
    ) -> AsyncGenerator[Event, None]:
        """The events of one text; wait in line if need be. Close it (``aclosing``) to cancel.

        ``recordings`` speak instead of the configuration's voice.
        Pulling ``brake`` first makes sure that no work begins until it is closed.

        Raises ``SpeechError`` and nothing else.
        """
        key = caller.caller.key_id if isinstance(caller, Place) else caller.key_id
        try:
            with (
                SpeechMeter(self.metrics, request_id, key, feed) as meter,
                closing(Floor(self.admission, caller)) as floor,
            ):
                # Nobody waits in line to hear of a wrong name.
                part = self.casting.part(request_id, config, recordings)
                self._health.check()
                async with aclosing(self._chunks(part, feed)) as chunks:
                    first = await anext(chunks, None)
                    meter.arrived()
                    if (place := floor.ask()).waits:
                        meter.queued(place)
                        yield _queued(place)
                    await place.ready()
                    feed.charge(partial(self.admission.spend, floor.caller))
                    waited_ms = meter.admitted()
                    texts = _chained(first, chunks)
                    async with aclosing(self._spoken(part, texts, brake, floor)) as events:
                        async for event in events:
                            meter.see(event)
                            yield _with_wait(event, waited_ms)
        except EngineFailed:
            self._health.recover()
            raise
        except SpeechError:
            raise
        except Exception as error:
            logger.exception("request %s failed", request_id)
            raise Internal("something went wrong", request_id=request_id) from error

    def _chunks(self, part: Part, feed: TextFeed) -> AsyncGenerator[TextChunk, None]:
        flush_after_s = part.request.chunking.flush_after_ms / 1000
        return feed.chunks(self._pipeline.chunker(part.request), flush_after_s)

    async def _spoken(
        self,
        part: Part,
        chunks: AsyncIterator[TextChunk],
        brake: Brake | None = None,
        floor: Floor | None = None,
    ) -> AsyncGenerator[Event, None]:
        cast = await self.casting.cast(part)
        speaking = self._pipeline.speak(
            cast.request,
            cast.voice,
            chunks,
            emotion_voice=cast.emotion_voice,
            brake=brake,
            floor=floor,
        )
        async with aclosing(speaking) as events:
            async for event in events:
                yield event

    async def _speak_once(self) -> None:
        """Speak to nobody, beside the queue; raises what the engine raises."""
        await asyncio.to_thread(encoding.load)
        part = self.casting.part("warm-up", SpeechConfig(), None)
        feed = TextFeed.whole(self.settings.warm_text)
        chunks = self._chunks(part, feed)
        async with aclosing(chunks), aclosing(self._spoken(part, chunks)) as events:
            async for event in events:
                if isinstance(event, AudioFrame):
                    logger.debug("warm-up made %d samples", event.samples)

    def _watch_gauges(self) -> None:
        """What is read when somebody asks for the metrics."""
        queue, watch = self.admission, self.metrics.watch
        watch("active_streams", "Texts that are being spoken.", lambda: queue.active)
        watch("queue_depth", "Texts that wait for a place.", lambda: queue.waiting)
        watch("sessions", "Open WebSockets.", lambda: self.sessions)
        watch("ready", "Whether /readyz answers 200.", lambda: self.state == "ready")
        watch(
            "predicted_wait_seconds",
            "How long a text that came now would wait for a place.",
            lambda: queue.predicted_s(queue.waiting) if queue.full else 0.0,
        )


def _queued(place: Place) -> Warned:
    """Tells a listener that others speak first."""
    return Warned(
        code="queued",
        message=f"{place.ahead} requests wait ahead of this one, about {place.predicted_s:.1f} s",
    )


async def _chained(
    first: TextChunk | None, others: AsyncIterator[TextChunk]
) -> AsyncGenerator[TextChunk, None]:
    if first is not None:
        yield first
        async for chunk in others:
            yield chunk


def _with_wait(event: Event, waited_ms: float) -> Event:
    """Count the wait for a place into the timings that a listener sees."""
    if not isinstance(event, SpeechDone):
        return event
    first = event.first_audio_ms
    return replace(
        event,
        queue_ms=event.queue_ms + waited_ms,
        first_audio_ms=None if first is None else first + waited_ms,
    )
