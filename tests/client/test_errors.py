"""Codes become classes, addresses become doors."""

from __future__ import annotations

import pytest

from client.errors import error_of
from client.urls import http_url, is_loopback, websocket_url
from streaming import errors


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("empty_input", errors.EmptyInput),
        ("bad_message", errors.BadMessage),
        ("unauthorized", errors.Unauthorized),
        ("idle", errors.Idle),
        ("internal", errors.Internal),
        ("engine_failed", errors.EngineFailed),
        ("made_up", errors.Internal),
    ],
)
def test_every_code_has_its_class(code: str, kind: type[errors.SpeechError]) -> None:
    error = error_of(code, "why", param="p", retry_after_s=1.5, request_id="r")
    assert type(error) is kind
    assert (error.param, error.retry_after_s, error.request_id) == ("p", 1.5, "r")
    assert error.message == ("why" if code != "made_up" else "made_up: why")


@pytest.mark.parametrize(
    ("url", "websocket"),
    [
        ("http://127.0.0.1:6008", "ws://127.0.0.1:6008/v1/audio/speech/stream"),
        ("https://tts.example/", "wss://tts.example/v1/audio/speech/stream"),
        ("https://x.example/tts/", "wss://x.example/tts/v1/audio/speech/stream"),
        ("ws://h:1/v1/audio/speech/stream", "ws://h:1/v1/audio/speech/stream"),
        ("http://[::1]:6008", "ws://[::1]:6008/v1/audio/speech/stream"),
    ],
)
def test_one_address_gives_every_door(url: str, websocket: str) -> None:
    assert websocket_url(url) == websocket
    assert http_url(url, "/readyz") == websocket.replace("ws", "http", 1).replace(
        "/v1/audio/speech/stream", "/readyz"
    )


@pytest.mark.parametrize("url", ["", "127.0.0.1:6008", "ftp://x", "http://", "http://h:99999"])
def test_what_is_no_address_is_a_value_error(url: str) -> None:
    with pytest.raises(ValueError):
        websocket_url(url)


def test_this_machine_needs_no_proxy() -> None:
    here = ["http://localhost:1", "ws://127.0.0.2", "http://[::1]:6008"]
    assert all(map(is_loopback, here))
    assert not any(map(is_loopback, ["http://example.org", "http://10.0.0.1:6008"]))
