"""What is counted and timed, for Prometheus: one registry per service."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

_SECONDS = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
_RATIOS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 4.0)


disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, of no use


class Metrics:
    """Everything at ``/metrics``."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = self._counter(
            "requests", "Texts, by how they ended: done, cancelled, error.", "outcome"
        )
        self.errors = self._counter("errors", "Refusals and failures by code.", "code")
        self.http = self._counter(
            "connections", "HTTP requests by status; a WebSocket counts once, as 101.", "status"
        )
        self.first_audio_s = self._histogram(
            "first_audio_seconds",
            "From a text's arrival to its first samples, the wait for a place included.",
            _SECONDS,
        )
        self.queue_s = self._histogram("queue_seconds", "Waits for a place.", _SECONDS)
        self.rtf = self._histogram(
            "rtf", "Seconds of computing per second of audio, of one text.", _RATIOS
        )
        self.underruns = self._counter(
            "underruns",
            "Times that a listener who plays 200 ms behind the first samples ran dry (estimate).",
        )
        self.stage_s = self._counter("stage_seconds", "Computing by stage.", "stage")
        self.audio_s = self._counter("audio_seconds", "Audio given to listeners.")
        self.characters = self._counter("characters", "Characters that were spoken.")

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"indextts_{name}", about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"indextts_{name}", about, buckets=buckets, registry=self.registry)

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """A gauge that is read when somebody asks."""
        Gauge(f"indextts_{name}", about, registry=self.registry).set_function(value)

    def count(self, code: str) -> None:
        """A refusal or failure; the door that tells of it counts it."""
        self.errors.labels(code).inc()

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
