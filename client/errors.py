"""What can go wrong on the listener's side.

A server's refusal or failure is raised as the class of ``streaming.errors`` that carries its code;
trouble on the way there is one of the classes here.
"""

from __future__ import annotations

from collections.abc import Iterator

from streaming.errors import Internal, SpeechError


class ClientError(Exception):
    """Trouble between the client and the server; the message is meant for people."""


class CannotConnect(ClientError):
    """Nobody answers there, or somebody who is no speech server."""


class ConnectionLost(ClientError):
    """The connection ended before the speech did; ``close_code`` is the WebSocket's, if any."""

    def __init__(self, message: str, *, close_code: int | None = None) -> None:
        super().__init__(message)
        self.close_code = close_code


class BrokenProtocol(ClientError):
    """The server sent something that does not fit the protocol."""


def _leaves(kind: type[SpeechError]) -> Iterator[type[SpeechError]]:
    for child in kind.__subclasses__():
        yield from _leaves(child)
    if not kind.__subclasses__():
        yield kind


_BY_CODE = {kind.code: kind for kind in _leaves(SpeechError)}


def error_of(
    code: str,
    message: str,
    *,
    param: str | None = None,
    retry_after_s: float | None = None,
    request_id: str | None = None,
) -> SpeechError:
    """The typed error for a server's code; a code nobody here knows becomes ``Internal``."""
    kind = _BY_CODE.get(code, Internal)
    text = message if kind.code == code else f"{code}: {message}"
    return kind(text, param=param, retry_after_s=retry_after_s, request_id=request_id)
