"""The only table from error code to HTTP status and WebSocket close code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from streaming.errors import SpeechError

NORMAL_CLOSE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a code becomes: an HTTP status, and a close code where it ends the connection."""

    status: int
    close: int | None = None


ANSWERS: Mapping[str, Answer] = {
    "empty_input": Answer(status=400),
    "invalid_text": Answer(status=400),
    "text_too_long": Answer(status=413),
    "unknown_voice": Answer(status=404),
    "bad_recording": Answer(status=400),
    "reference_refused": Answer(status=403),
    "unsupported_format": Answer(status=400),
    "bad_message": Answer(status=400, close=1008),
    "bad_config": Answer(status=422),
    "unauthorized": Answer(status=401, close=1008),
    "forbidden": Answer(status=403, close=1008),
    "forbidden_origin": Answer(status=403, close=1008),
    "rate_limited": Answer(status=429, close=4429),
    "overloaded": Answer(status=429, close=4429),
    "draining": Answer(status=503, close=1012),
    "idle": Answer(status=408, close=4408),
    "stalled": Answer(status=408, close=4413),
    "resume_expired": Answer(status=410),
    "synthesis_failed": Answer(status=500),
    "engine_failed": Answer(status=503),
    "internal": Answer(status=500, close=1011),
}
"""Statuses of ``idle``, ``stalled`` and ``resume_expired`` are never sent: they need a socket."""


def close_code(code: str | None) -> int:
    """The WebSocket close code for an error code, or for a normal end."""
    if code is None:
        return NORMAL_CLOSE
    return ANSWERS[code].close or 1008


def error_kinds(root: type[SpeechError] = SpeechError) -> Iterator[type[SpeechError]]:
    """Every class of the error tree."""
    yield root
    for kind in root.__subclasses__():
        yield from error_kinds(kind)


def error_body(error: SpeechError) -> dict[str, Any]:
    """An error the way OpenAI's API puts it."""
    status = ANSWERS[error.code].status
    if status == 429:
        kind = "rate_limit_error"
    else:
        kind = "server_error" if status >= 500 else "invalid_request_error"
    return {
        "message": error.message,
        "type": kind,
        "param": error.param,
        "code": error.code,
        **({"request_id": error.request_id} if error.request_id else {}),
    }


def error_headers(error: SpeechError) -> dict[str, str]:
    """``Retry-After`` where the status promises one."""
    if ANSWERS[error.code].status not in (429, 503):
        return {}
    return {"Retry-After": str(max(1, round(error.retry_after_s or 1.0)))}
