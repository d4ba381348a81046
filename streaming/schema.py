"""JSON Schema (2020-12) of the native WebSocket's messages, from the classes that the code uses.

``python -m streaming.schema`` writes it, as docs/websocket.schema.json has it.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, TypeAlias, Union, get_args, get_origin, get_type_hints

from streaming import wire
from streaming.fields import FIELDS

Schema: TypeAlias = dict[str, Any]

_PLAIN: Mapping[object, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Any: {},
}


def protocol_schema() -> Schema:
    """Every message under ``$defs``, and the two sides of the protocol as choices of them."""
    sides = {"client": wire.ClientMessage, "server": wire.ServerMessage}
    kinds = {side: get_args(union) for side, union in sides.items()}
    messages = {kind.type: _message(kind) for side in kinds.values() for kind in side}
    choices = {
        side: {"oneOf": [{"$ref": f"#/$defs/{kind.type}"} for kind in kinds[side]]}
        for side in kinds
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"IndexTTS-Stream WebSocket protocol {wire.PROTOCOL_VERSION}",
        "$defs": {**choices, **messages},
    }


def rendered() -> str:
    """The schema as the text of a file."""
    return json.dumps(protocol_schema(), indent=1, ensure_ascii=False) + "\n"


def _message(kind: type[Any]) -> Schema:
    hints = get_type_hints(kind)
    properties: Schema = {"type": {"const": kind.type}}
    required = ["type"]
    for spec in fields(kind):
        if spec.name == "changes":
            properties |= {name: dict(check.schema) for name, check in FIELDS.items()}
            continue
        properties[spec.name] = _value(hints[spec.name])
        if _is_required(spec):
            required.append(spec.name)
    return {
        "type": "object",
        "description": (kind.__doc__ or "").partition("\n")[0],
        "properties": properties,
        "required": required,
    }


def _is_required(spec: Field[Any]) -> bool:
    return spec.default is MISSING and spec.default_factory is MISSING


def _value(hint: Any) -> Schema:
    """The schema of an annotation; ``None`` means that the field may be left out."""
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (choice for choice in get_args(hint) if choice is not type(None))
    if get_origin(hint) is not None:
        inner = _value(get_args(hint)[1])
        return {"type": "object", "additionalProperties": inner} if inner else {"type": "object"}
    return dict(_PLAIN[hint])


if __name__ == "__main__":
    sys.stdout.write(rendered())
