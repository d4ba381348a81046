"""OpenTelemetry spans, where the extra ``[otel]`` is installed; otherwise nothing at all.

The exporter is configured by OpenTelemetry's own variables: with
``OTEL_EXPORTER_OTLP_ENDPOINT`` set, spans are sent there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"


class Span(Protocol):
    """What is used of a span."""

    def set_attribute(self, key: str, value: Any) -> None:
        """Say something of it."""
        ...

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None) -> None:
        """Something happened in it, now."""
        ...

    def end(self) -> None:
        """It is over."""
        ...


class _Nothing:
    def set_attribute(self, key: str, value: Any) -> None:
        """Nobody listens."""

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None) -> None:
        """Nobody listens."""

    def end(self) -> None:
        """Nobody listens."""


try:
    from opentelemetry import context, propagate, trace
except ModuleNotFoundError:  # the extra is not installed

    def start_span(name: str, **attributes: Any) -> Span:
        """A span that nobody sees."""
        return _Nothing()

    def continue_trace(headers: Mapping[str, str]) -> None:
        """Nothing to continue."""

else:

    def start_span(name: str, **attributes: Any) -> Span:
        """A span below the current one; end it yourself, in any task."""
        return trace.get_tracer("indextts-stream").start_span(name, attributes=attributes)

    def continue_trace(headers: Mapping[str, str]) -> None:
        """Make the caller's span (``traceparent``) the current one of this task."""
        if "traceparent" in headers:
            context.attach(propagate.extract(dict(headers)))


def configure(version: str) -> bool:
    """Send spans where the environment says; ``False`` when it says nothing or nothing can be."""
    if not os.environ.get(ENDPOINT_VARIABLE):
        return False
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        return False
    named = {"service.name": "indextts-stream", "service.version": version}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return True
