"""What operators and clients ask before they speak: is it alive, ready, and what can it do."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from server import encoding, websocket
from server.openapi import NOT_FOUND, OBJECT, ApiRoute, Operation
from server.service import SynthesisService
from streaming.fields import SAMPLE_RATES_HZ, SUBTITLES, TIMESTAMPS
from streaming.request import EMOTIONS


async def capabilities(request: Request) -> Response:
    """``GET /v1/capabilities``: what can be asked for, and the published limits."""
    service = service_of(request)
    info = service.info
    return JSONResponse(
        {
            "model": info.name,
            "version": info.version,
            "sample_rate": info.sample_rate_hz,
            "sample_rates": list(SAMPLE_RATES_HZ),
            "languages": list(info.languages),
            "formats": {"http": list(encoding.FORMATS), "websocket": list(websocket.FORMATS)},
            "emotions": list(EMOTIONS),
            "timestamps": list(TIMESTAMPS),
            "subtitles": list(SUBTITLES),
            "resume": service.settings.limits.resume_s > 0,
            "chunk_tokens": {
                "first": info.first_chunk_tokens,
                "default": info.max_chunk_tokens,
                "limit": info.limit_tokens,
            },
            "limits": asdict(service.settings.limits),
            "voices_etag": service.catalog.etag,
        }
    )


async def hello(_: Request) -> Response:
    """The process is alive; nothing else is promised."""
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> Response:
    """``GET /readyz``: 200 when warm and not draining."""
    state = service_of(request).state
    return JSONResponse({"status": state}, 200 if state == "ready" else 503)


async def metrics(request: Request) -> Response:
    """``GET /metrics``: figures for Prometheus."""
    service = service_of(request)
    if not service.settings.metrics:
        raise HTTPException(404)
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def service_of(request: Request) -> SynthesisService[Any]:
    """The engine room behind a request."""
    service: SynthesisService[Any] = request.app.state.service
    return service


_METRICS = Operation(answers={200: {"text/plain": {"type": "string"}}}, errors=(NOT_FOUND,))
_READY = Operation(answers={200: {"application/json": OBJECT}, 503: {"application/json": OBJECT}})

ROUTES: list[BaseRoute] = [
    ApiRoute("/v1/capabilities", capabilities, Operation()),
    ApiRoute("/v1/", hello, Operation()),
    ApiRoute("/healthz", hello, Operation()),
    ApiRoute("/metrics", metrics, _METRICS),
    ApiRoute("/readyz", ready, _READY),
]
