"""The table of codes is total and agrees with what the protocol says."""

from __future__ import annotations

import pytest

from server.errors import ANSWERS, close_code, error_body, error_headers, error_kinds
from streaming.errors import BadConfig, Draining, Overloaded, SpeechError, SynthesisFailed

# As docs/server.md says; None where it promises nothing.
PROTOCOL: dict[str, tuple[int | None, int | None]] = {
    "empty_input": (400, None),
    "invalid_text": (400, None),
    "text_too_long": (413, None),
    "unknown_voice": (404, None),
    "bad_recording": (400, None),
    "reference_refused": (403, None),
    "unsupported_format": (400, None),
    "bad_message": (400, 1008),
    "bad_config": (422, None),
    "unauthorized": (401, 1008),
    "forbidden": (403, 1008),
    "forbidden_origin": (403, 1008),
    "rate_limited": (429, 4429),
    "overloaded": (429, 4429),
    "draining": (503, 1012),
    "idle": (None, 4408),
    "stalled": (None, 4413),
    "resume_expired": (None, None),
    "synthesis_failed": (500, None),
    "engine_failed": (503, None),
    "internal": (500, 1011),
}


def test_the_table_is_total_over_the_error_tree() -> None:
    assert {kind.code for kind in error_kinds()} == set(ANSWERS) == set(PROTOCOL)


@pytest.mark.parametrize("code", PROTOCOL)
def test_the_table_is_the_protocol(code: str) -> None:
    status, close = PROTOCOL[code]
    assert ANSWERS[code].close == close
    assert status is None or ANSWERS[code].status == status


def test_a_normal_end_and_a_code_without_close() -> None:
    assert close_code(None) == 1000
    assert close_code("bad_config") == 1008


@pytest.mark.parametrize(
    ("error", "kind", "headers"),
    [
        (BadConfig("no", param="speed"), "invalid_request_error", {}),
        (Overloaded("full", retry_after_s=2.4), "rate_limit_error", {"Retry-After": "2"}),
        (Draining("bye"), "server_error", {"Retry-After": "1"}),
        (SynthesisFailed("oh", request_id="r"), "server_error", {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_bodies_and_headers(error: SpeechError, kind: str, headers: dict[str, str]) -> None:
    body = error_body(error)
    assert (body["type"], body["code"], body["message"]) == (kind, error.code, error.message)
    assert (body["param"], body.get("request_id")) == (error.param, error.request_id)
    assert error_headers(error) == headers
