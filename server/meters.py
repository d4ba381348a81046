"""What one text went through: figures, a span, and one line in the log."""

from __future__ import annotations

import asyncio
import logging
import time
from types import TracebackType

from server.admission import Place
from server.feed import TextFeed
from server.logs import fields
from server.metrics import Metrics
from server.tracing import start_span
from streaming.errors import SpeechError
from streaming.events import AudioFrame, ChunkDone, ChunkStarted, Event, SpeechDone

logger = logging.getLogger(__name__)

PLAYER_BUFFER_S = 0.2
"""How long after the first sample the listener is taken to start playing."""


class SpeechMeter:
    """Follows one text; a context manager whose end counts it."""

    def __init__(self, metrics: Metrics, request_id: str, key: str, feed: TextFeed) -> None:
        self._metrics = metrics
        self._names = {"request_id": request_id, "key": key}
        self._feed = feed
        self._arrived_s = time.monotonic()
        self._dry_at_s: float | None = None
        self._rate_hz = 1
        self._first_audio_s: float | None = None
        self._queue_s = 0.0
        self._done: SpeechDone | None = None
        self._span = start_span("speak", **self._names)

    def arrived(self) -> None:
        """There is something to say; nobody waited for us before."""
        self._arrived_s = time.monotonic()

    def queued(self, place: Place) -> None:
        """Others go first."""
        self._span.add_event("queued", {"ahead": place.ahead, "predicted_s": place.predicted_s})

    def admitted(self) -> float:
        """The wait for a place is over; gives its milliseconds."""
        self._queue_s = time.monotonic() - self._arrived_s
        self._metrics.queue_s.observe(self._queue_s)
        self._span.add_event("admitted")
        return self._queue_s * 1000

    def see(self, event: Event) -> None:
        """An event on its way to the listener."""
        if isinstance(event, AudioFrame):
            self._hear(event.samples / self._rate_hz)
        elif isinstance(event, ChunkStarted):
            self._rate_hz = event.sample_rate_hz
            if not self._feed.complete:
                self._dry_at_s = None  # whether the text or we were late cannot be told
        elif isinstance(event, ChunkDone):
            self._end_chunk(event)
        elif isinstance(event, SpeechDone):
            self._done = event
            self._metrics.characters.inc(event.characters_spoken)
            if event.samples:
                self._metrics.rtf.observe(event.rtf)

    def _hear(self, duration_s: float) -> None:
        now_s = time.monotonic()
        if self._first_audio_s is None:
            self._first_audio_s = now_s - self._arrived_s
            self._metrics.first_audio_s.observe(self._first_audio_s)
            self._span.add_event("first_audio")
        if self._dry_at_s is None:
            self._dry_at_s = now_s + PLAYER_BUFFER_S
        elif now_s > self._dry_at_s:
            self._metrics.underruns.inc()
            self._dry_at_s = now_s
        self._dry_at_s += duration_s

    def _end_chunk(self, event: ChunkDone) -> None:
        seconds = event.samples / self._rate_hz
        self._metrics.audio_s.inc(seconds)
        stages = {f"{stage}_s": spent_s for stage, spent_s in event.report.stage_s.items()}
        for stage, spent_s in event.report.stage_s.items():
            self._metrics.stage_s.labels(stage).inc(spent_s)
        self._span.add_event("chunk", {"index": event.index, "audio_s": seconds, **stages})

    def __enter__(self) -> SpeechMeter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        outcome, code = "done", None
        if isinstance(error, GeneratorExit | asyncio.CancelledError):
            outcome = "done" if self._done else "cancelled"
        elif error is not None:
            outcome, code = "error", error.code if isinstance(error, SpeechError) else "internal"
        self._metrics.requests.labels(outcome).inc()
        self._tell(outcome, code)

    def _tell(self, outcome: str, code: str | None) -> None:
        """Write the line and end the span."""
        said: dict[str, str | float] = {**self._names, "outcome": outcome}
        if code is not None:
            said["code"] = code
        said["queue_ms"] = round(self._queue_s * 1000, 1)
        if self._first_audio_s is not None:
            said["first_audio_ms"] = round(self._first_audio_s * 1000, 1)
        if self._done is not None:
            said |= {"chunks": self._done.chunks, "samples": self._done.samples}
            said |= {"characters": self._done.characters_spoken, "rtf": round(self._done.rtf, 4)}
        for name, value in said.items():
            self._span.set_attribute(f"indextts.{name}", value)
        self._span.end()
        logger.info("speech", extra=fields(**said))
