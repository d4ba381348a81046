"""The published schema says what the code says, message by message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import jsonschema_rs
import pytest

from streaming import wire
from streaming.errors import InputError
from streaming.schema import protocol_schema, rendered
from tests.streaming.test_wire import CLIENT_MESSAGES, SERVER_MESSAGES

SCHEMA = protocol_schema()


def accepts(side: str, message: Any) -> bool:
    validator = jsonschema_rs.validator_for({**SCHEMA, "$ref": f"#/$defs/{side}"})
    return validator.is_valid(message)


def test_the_published_file_is_generated() -> None:
    path = Path(__file__).parents[2] / "docs" / "websocket.schema.json"
    assert path.read_text(encoding="utf-8") == rendered()


@pytest.mark.parametrize(
    ("side", "union"), [("client", wire.ClientMessage), ("server", wire.ServerMessage)]
)
def test_every_message_is_in_it(side: str, union: Any) -> None:
    named = {choice["$ref"].rpartition("/")[2] for choice in SCHEMA["$defs"][side]["oneOf"]}
    assert named == {kind.type for kind in get_args(union)}


@pytest.mark.parametrize("message", CLIENT_MESSAGES, ids=lambda m: m.type)
def test_what_a_client_may_say_is_valid(message: wire.ClientMessage) -> None:
    raw = json.loads(wire.encode(message))
    assert accepts("client", raw)
    assert not accepts("server", raw)


@pytest.mark.parametrize("message", SERVER_MESSAGES, ids=lambda m: m.type)
def test_what_a_server_says_is_valid(message: wire.ServerMessage) -> None:
    raw = json.loads(wire.encode(message))
    assert accepts("server", raw)
    for name in SCHEMA["$defs"][message.type]["required"]:
        assert not accepts("server", {k: v for k, v in raw.items() if k != name})


@pytest.mark.parametrize(
    "raw",
    [
        {"type": "input.song"},
        {"type": "input.text"},
        {"type": "input.text", "text": 7},
        {"type": "session.config", "speed": 9},
        {"type": "session.config", "sampling": {"top_p": 0}},
        {"type": "session.config", "timestamps": "always"},
        {"type": "session.config", "glossary": {"a": ""}},
    ],
    ids=str,
)
def test_what_the_schema_refuses_the_code_refuses(raw: dict[str, Any]) -> None:
    assert not accepts("client", raw)
    with pytest.raises(InputError):
        wire.decode_client(json.dumps(raw))
