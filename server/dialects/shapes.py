"""How the clients of each door want to hear of an error that comes before the door is reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.responses import Response

from server.dialects import deepgram_http, elevenlabs_fields
from server.http import error_response
from streaming.errors import SpeechError

_SHAPES: Mapping[str, Callable[[SpeechError], Response]] = {
    "/v1/text-to-speech/": elevenlabs_fields.error_response,
    "/v1/speak": deepgram_http.error_response,
}


def is_foreign(path: str) -> bool:
    """Whether the clients there are another service's."""
    return path.startswith(tuple(_SHAPES))


def shaped(error: SpeechError, path: str) -> Response:
    """The answer to a request for ``path``."""
    kinds = (shape for prefix, shape in _SHAPES.items() if path.startswith(prefix))
    return next(kinds, error_response)(error)
