"""What is counted and timed, for Prometheus: one registry per service."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
_RATIOS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 4.0)


class Metrics:
    """Everything at ``/metrics``."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "indextts_requests",
            "Texts that were asked for, by how they ended: done, cancelled, error.",
            ["outcome"],
            registry=registry,
        )
        self.errors = Counter(
            "indextts_errors", "Refusals and failures by code.", ["code"], registry=registry
        )
        self.http = Counter(
            "indextts_connections",
            "HTTP requests by status; a WebSocket counts once, as 101.",
            ["status"],
            registry=registry,
        )
        self.first_audio_s = Histogram(
            "indextts_first_audio_seconds",
            "From a text's arrival to its first samples, the wait for a place included.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.queue_s = Histogram(
            "indextts_queue_seconds", "Waits for a place.", buckets=_SECONDS, registry=registry
        )
        self.rtf = Histogram(
            "indextts_rtf",
            "Seconds of computing per second of audio, of one text.",
            buckets=_RATIOS,
            registry=registry,
        )
        self.underruns = Counter(
            "indextts_underruns",
            "Times that a listener who plays 200 ms behind the first samples ran dry (estimate).",
            registry=registry,
        )
        self.stage_s = Counter(
            "indextts_stage_seconds", "Computing by stage.", ["stage"], registry=registry
        )
        self.audio_s = Counter(
            "indextts_audio_seconds", "Audio given to listeners.", registry=registry
        )
        self.characters = Counter(
            "indextts_characters", "Characters that were spoken.", registry=registry
        )

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """A gauge that is read when somebody asks."""
        Gauge(f"indextts_{name}", about, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)
