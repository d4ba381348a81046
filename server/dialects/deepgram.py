"""Deepgram's text-to-speech over WebSocket, and the routes of both its doors."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket

from server.dialects.deepgram_http import (
    SPEAK,
    error_response,
    read_encoding,
    read_voice,
    speak,
)
from server.dialects.translated import Output, Translated, admit, own_fields
from server.encoding import Encoder
from server.openapi import ApiRoute
from server.service import SynthesisService
from streaming.errors import BadMessage, InputError, UnsupportedFormat
from streaming.fields import Changes
from streaming.session import Limits
from streaming.wire import (
    Failure,
    InputCancel,
    InputDone,
    InputText,
    Ping,
    ServerMessage,
    SessionClose,
    SessionCreated,
    SessionDone,
    Warn,
)

ENCODINGS = ("linear16", "mulaw", "alaw")
"""What the socket offers; its audio has no container."""

FRAMES_PER_S = 50
"""G.711 comes in messages of exactly 20 ms, as telephony sends it."""

_SILENCE: Mapping[str, bytes] = {"ulaw": b"\xff", "alaw": b"\xd5"}
"""Zero in G.711, which fills the last message of an utterance."""


async def speak_socket(websocket: WebSocket) -> None:
    """``/v1/speak``: refuse in the handshake what cannot be served, else serve it."""
    service: SynthesisService[Any] = websocket.app.state.service
    query = websocket.query_params
    try:
        if query.get("encoding", ENCODINGS[0]) not in ENCODINGS:
            offered = ", ".join(ENCODINGS)
            raise UnsupportedFormat(f"encoding must be one of {offered}", param="encoding")
        if query.get("container", "none") != "none":
            raise UnsupportedFormat("container must be none", param="container")
        output = read_encoding({"encoding": ENCODINGS[0], **query, "container": "none"}).output
        changes = dict(await admit(service, read_voice(query, service.catalog), output))
    except InputError as error:
        service.metrics.count(error.code)
        await websocket.send_denial_response(error_response(error))
        return
    limits = service.settings.limits
    await SpeakSocket(service, websocket, limits, changes=changes, output=output).serve()


class SpeakSocket(Translated):
    """Speak, Flush, Clear and Close; utterances, which end at a Flush, are spoken in order."""

    def __init__(
        self,
        service: SynthesisService[Any],
        websocket: WebSocket,
        limits: Limits,
        *,
        changes: Changes,
        output: Output,
    ) -> None:
        super().__init__(service, websocket, limits, changes=changes, output=output)
        self._encoder: Encoder = output.encoder()
        self._silence = _SILENCE.get(output.format, b"")
        self._frame_bytes = output.sample_rate_hz // FRAMES_PER_S if self._silence else 0
        self._rest = b""
        self._writing = False
        self._open = False
        self._flushed = 0
        self._empty_flushes = 0
        self._sequence = 0

    def translate(self, raw: dict[str, Any]) -> None:
        """One of the four messages."""
        match raw.get("type"):
            case "Speak":
                self._take_text(raw)
            case "Flush":
                self._take_flush()
            case "Clear":
                self._take_clear()
            case "Close":
                self.do(SessionClose())
            case _:
                raise BadMessage("unknown message type", param="type")

    def tell(self, message: ServerMessage) -> None:
        """Metadata at the beginning; Flushed when an utterance is out; warnings."""
        match message:
            case SessionCreated():
                self._say("Metadata", **self._metadata(message))
            case SessionDone():
                self._pad()
                self._utterance_ended()
            case Warn():
                self._warn(message.code, message.message)
            case Failure():
                self._warn(message.code, message.message)
                if message.context_id is not None and self._writing:
                    self._open = False
                elif message.context_id is not None:
                    self._rest = b""
                    self._utterance_ended()

    def sound(self, context_id: str, pcm: bytes) -> None:
        """Binary audio; G.711 in frames."""
        self._rest += self._encoder.encode(pcm)
        size = self._frame_bytes or len(self._rest)
        while self._rest and len(self._rest) >= size:
            self.say(self._rest[:size])
            self._rest = self._rest[size:]

    def _take_text(self, raw: Mapping[str, Any]) -> None:
        text = raw.get("text")
        if not isinstance(text, str):
            raise BadMessage("text must be a string", param="text")
        if not (self._open or text.strip()):
            self.do(Ping())
            return
        try:
            changes = own_fields(raw)
        except InputError as error:
            self._service.metrics.count(error.code)
            self._warn(error.code, error.message)
            return
        self._open = self._writing = True
        self.do(InputText(text=text, changes=changes))
        self._writing = False

    def _take_flush(self) -> None:
        if self._open:
            self._open = False
            self._flushed += 1
            self.do(InputDone())
        elif self._flushed:
            self._empty_flushes += 1
        else:
            self.do(Ping())
            self._say_numbered("Flushed")

    def _take_clear(self) -> None:
        if self._open or self._flushed:
            self.do(InputCancel())
        self._open = False
        self._flushed = self._empty_flushes = 0
        self._rest = b""
        self._say_numbered("Cleared")

    def _utterance_ended(self) -> None:
        if not self._flushed:
            self._open = False
            return
        self._flushed -= 1
        self._say_numbered("Flushed")
        while not self._flushed and self._empty_flushes:
            self._empty_flushes -= 1
            self._say_numbered("Flushed")

    def _pad(self) -> None:
        """The last frame of an utterance is as long as all others."""
        if self._rest:
            self.say(self._rest.ljust(self._frame_bytes, self._silence))
            self._rest = b""

    def _metadata(self, greeting: SessionCreated) -> dict[str, str]:
        model = f"{greeting.model} {greeting.version}"
        return {
            "request_id": greeting.session_id,
            "model_name": greeting.model,
            "model_version": greeting.version,
            "model_uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, model)),
        }

    def _warn(self, code: str, message: str) -> None:
        self._say("Warning", description=message, code=code, warn_code=code, warn_msg=message)

    def _say_numbered(self, kind: str) -> None:
        self._say(kind, sequence_id=self._sequence)
        self._sequence += 1

    def _say(self, kind: str, **fields: object) -> None:
        self.say(json.dumps({"type": kind, **fields}))


ROUTES: list[BaseRoute] = [
    WebSocketRoute("/v1/speak", speak_socket),
    ApiRoute("/v1/speak", speak, SPEAK, method="POST"),
]
"""This door's."""
