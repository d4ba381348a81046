"""Names that exist, in half of the requests that Schemathesis makes up: they get further."""

from __future__ import annotations

from typing import Any

import schemathesis

KNOWN = {
    "voice": "anna",
    "character": "anna",
    "reference_id": "bert",
    "voice_id": "anna",
    "id": "bert",
    "model": "tone",
    "spk_audio_path": "anna.wav",
    "emo_ref_path": "anna.wav",
}


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Known voices and paths."""
    if isinstance(body, dict) and "audio_paths" in body and _chosen(body):
        body = {**body, "audio_paths": ["anna.wav"]}
    return _known(body)


@schemathesis.hook
def map_path_parameters(context: schemathesis.HookContext, path_parameters: Any) -> Any:
    """Known voices and models."""
    return _known(path_parameters)


def _known(values: Any) -> Any:
    if not isinstance(values, dict) or not _chosen(values):
        return values
    return {
        name: KNOWN.get(name, value) if isinstance(value, str) else value
        for name, value in values.items()
    }


def _chosen(values: dict[str, Any]) -> bool:
    return len(repr(values)) % 2 == 0
