"""ElevenLabs' text-to-speech over WebSocket: one context a socket, or several."""

from __future__ import annotations

import base64
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from server.auth import KNOCK
from server.dialects.elevenlabs_fields import (
    DEFAULT_OUTPUT,
    Aligner,
    error_code,
    error_response,
    read_changes,
    read_output,
)
from server.dialects.elevenlabs_key import unlock
from server.dialects.translated import Output, Translated, admit
from server.encoding import Encoder
from server.errors import close_code
from server.service import SynthesisService
from streaming.errors import BadConfig, BadMessage, InputError, SpeechError
from streaming.fields import Changes, parse_fields
from streaming.pieces import Cut, cut_after
from streaming.session import Limits
from streaming.timings import Span
from streaming.wire import (
    DEFAULT_CONTEXT,
    AudioDone,
    AudioStart,
    Cancelled,
    Failure,
    InputCancel,
    InputDone,
    InputFlush,
    InputText,
    Ping,
    ServerMessage,
    SessionClose,
    SessionDone,
    context_of,
)

CONTEXTS = 5
"""As many as ElevenLabs allows on one socket."""

INACTIVITY_S, MOST_INACTIVITY_S = 20, 180
"""How long a socket may be silent: by default, and as ``inactivity_timeout`` at most."""

_POLICY = 1008

_BREATH_S = 0.25
"""A context closed this soon after text that was flushed is at its end, not interrupted."""


@dataclass(slots=True, kw_only=True)
class _Context:
    """What a client has said in one context."""

    changes: dict[str, Any] = field(default_factory=dict)
    begun: bool = False
    """Whether there was anything to speak."""
    closing: bool = False
    flushed_until_s: float = 0.0
    """Until when a close means the end of what was flushed."""


@dataclass(slots=True, kw_only=True)
class _Voice:
    """What a context that speaks has on its way out."""

    encoder: Encoder
    aligner: Aligner | None = None


async def stream_input(websocket: WebSocket) -> None:
    """``/v1/text-to-speech/{voice_id}/stream-input``."""
    await _serve(websocket, OneContext)


async def multi_stream_input(websocket: WebSocket) -> None:
    """``/v1/text-to-speech/{voice_id}/multi-stream-input``."""
    await _serve(websocket, ManyContexts)


async def _serve(websocket: WebSocket, kind: type[ManyContexts]) -> None:
    """Refuse in the handshake what cannot be served, else serve it."""
    service: SynthesisService[Any] = websocket.app.state.service
    known = websocket
    late = KNOCK in websocket.scope.get("state", {})
    try:
        if late:
            known = await unlock(websocket)
        connection = await _connect(known, service, kind)
    except SpeechError as error:
        service.metrics.count(error.code)
        if not late:
            await websocket.send_denial_response(error_response(error))
            return
        with suppress(WebSocketDisconnect):
            body = {"error": error_code(error), "message": error.message, "code": _POLICY}
            await websocket.send_text(json.dumps(body))
            await websocket.close(close_code(error.code))
        return
    await connection.serve()


async def _connect(
    websocket: WebSocket, service: SynthesisService[Any], kind: type[ManyContexts]
) -> ManyContexts:
    """The connection that a URL asks for; raises ``InputError``."""
    query = websocket.query_params
    output = read_output(query.get("output_format", DEFAULT_OUTPUT))
    asked = parse_fields({"language": query.get("language_code")})
    voice = websocket.path_params["voice_id"]
    changes = await admit(service, {**asked, "voice": voice}, output)
    most = service.settings.limits
    limits = replace(
        most,
        contexts=min(CONTEXTS, most.contexts),
        idle_s=min(_inactivity_s(query), most.idle_s),
    )
    connection = kind(service, websocket, limits, changes=changes, output=output)
    connection.auto_mode = query.get("auto_mode") == "true"
    return connection


def _inactivity_s(query: Mapping[str, str]) -> float:
    text = query.get("inactivity_timeout", str(INACTIVITY_S))
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= MOST_INACTIVITY_S:
        raise BadConfig(
            f"inactivity_timeout must be from 1 to {MOST_INACTIVITY_S}", param="inactivity_timeout"
        )
    return float(text)


class ManyContexts(Translated):
    """Contexts by ``context_id``; an empty text keeps the socket alive.

    ``close_context`` straight after a flush ends a context: what was flushed is spoken. Otherwise,
    and when said again, it is the barge-in: the context stops at once.
    """

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
        self.auto_mode = False
        self._most = limits.contexts
        self._contexts: dict[str, _Context] = {}
        self._voices: dict[str, _Voice] = {}

    def translate(self, raw: dict[str, Any]) -> None:
        """Text, a flush, or the end of a context or of all."""
        context_id = context_of({"context_id": raw.get("context_id", raw.get("contextId"))})
        self.read(raw)
        if raw.get("close_socket") is True:
            self.finish()
        elif raw.get("close_context") is True:
            self._close_context(context_id)
        else:
            self.text(context_id, raw)

    def read(self, raw: dict[str, Any]) -> None:
        """Check a message, and count it as a sign of life."""
        if not isinstance(raw.get("text"), str | None):
            raise BadMessage("text must be a string", param="text")
        self.do(Ping())

    def text(self, context_id: str, raw: dict[str, Any]) -> None:
        """Text, or nothing, for a context."""
        text = raw.get("text") or ""
        context = self._contexts.get(context_id)
        if context is None or context.closing:
            if not text:
                return
            if len(self._contexts) - (context is not None) >= self._most:
                message = f"a socket has at most {self._most} contexts: close one first"
                self._fail_context("max_active_conversations", message, context_id)
                return
            context = self._contexts[context_id] = _Context()
        try:
            context.changes |= read_changes(raw, self._service)
        except InputError as error:
            self._service.metrics.count(error.code)
            self._fail_context(error_code(error), error.message, context_id)
            return
        self._append_text(context_id, context, text)
        if raw.get("flush") is True:
            self._flush_context(context_id, context, alone=not text.strip())
        elif self._hurries(raw, text):
            self.do(InputFlush(context_id=context_id))

    def finish(self) -> None:
        """Speak everything, then close the socket."""
        for context_id in [key for key, one in self._contexts.items() if not one.begun]:
            self._end_context(context_id)
        self.do(SessionClose())

    def tell(self, message: ServerMessage) -> None:
        """Times of characters, the end of a context, errors."""
        match message:
            case AudioStart(context_id=context_id):
                self._voice_of(context_id).aligner = Aligner(
                    text=message.sentence_text,
                    normalized_text=message.normalized_text,
                    first_sample=0,
                    sample_rate_hz=message.sample_rate,
                )
            case AudioDone(context_id=context_id):
                if (aligner := self._voice_of(context_id).aligner) is not None:
                    self._say_audio(context_id, b"", *aligner.times())
            case SessionDone(context_id=context_id):
                if rest := self._voice_of(context_id).encoder.finish():
                    self._say_audio(context_id, rest)
                self._end_context(context_id)
            case Cancelled(context_id=context_id):
                self._end_context(context_id)
            case Failure():
                self._fail_context(error_code(message.code), message.message, message.context_id)

    def sound(self, context_id: str, pcm: bytes) -> None:
        """A message of audio."""
        voice = self._voice_of(context_id)
        if voice.aligner is not None:
            voice.aligner.push(pcm)
        if audio := voice.encoder.encode(pcm):
            self._say_audio(context_id, audio)

    def _append_text(self, context_id: str, context: _Context, text: str) -> None:
        """Pass text on; what comes before the first word only opens the context."""
        if text.strip():
            context.begun = True
            context.flushed_until_s = 0.0
        if text and context.begun:
            changes, context.changes = context.changes, {}
            self.do(InputText(text=text, context_id=context_id, changes=changes))

    def _flush_context(self, context_id: str, context: _Context, *, alone: bool) -> None:
        if context.begun:
            self.do(InputFlush(context_id=context_id))
        context.flushed_until_s = math.inf if alone else time.monotonic() + _BREATH_S

    def _hurries(self, raw: Mapping[str, Any], text: str) -> bool:
        """Whether what is buffered is to be spoken although nobody flushed it."""
        if not text.strip():
            return False
        wanted = raw.get("try_trigger_generation") is True
        return self.auto_mode or (wanted and cut_after(text.strip(), " ") is Cut.SENTENCE)

    def _close_context(self, context_id: str) -> None:
        context = self._contexts.get(context_id)
        if context is None:
            return
        if not context.begun:
            context.closing = True
            self._end_context(context_id)
        elif not context.closing and time.monotonic() <= context.flushed_until_s:
            context.closing = True
            self.do(InputDone(context_id=context_id))
        else:
            del self._contexts[context_id]
            self.do(InputCancel(context_id=context_id))

    def _voice_of(self, context_id: str) -> _Voice:
        if (voice := self._voices.get(context_id)) is None:
            voice = self._voices[context_id] = _Voice(encoder=self.output.encoder())
        return voice

    def _end_context(self, context_id: str) -> None:
        """Say that nothing more comes of a context."""
        self._voices.pop(context_id, None)
        if (context := self._contexts.get(context_id)) is not None and context.closing:
            del self._contexts[context_id]
        self.say(json.dumps({"isFinal": True, **self.mark(context_id)}))

    def _fail_context(self, code: str, message: str, context_id: str | None) -> None:
        """Tell of an error, which is the end of the context that it names."""
        named = {} if context_id is None else self.mark(context_id)
        self.say(json.dumps({"error": code, "message": message, "code": _POLICY, **named}))
        if context_id is not None:
            self._contexts.pop(context_id, None)
            self._end_context(context_id)

    def _say_audio(
        self,
        context_id: str,
        audio: bytes,
        written: Sequence[Span] = (),
        read: Sequence[Span] = (),
    ) -> None:
        body = {
            "audio": base64.b64encode(audio).decode("ascii"),
            "isFinal": None,
            "alignment": _times(written),
            "normalizedAlignment": _times(read),
        }
        self.say(json.dumps({**body, **self.mark(context_id)}))

    def mark(self, context_id: str) -> dict[str, str]:
        """What tells which context a message belongs to."""
        return {"contextId": context_id}


class OneContext(ManyContexts):
    """A single context; an empty text is its end and the socket's."""

    def translate(self, raw: dict[str, Any]) -> None:
        """Text, a flush, or the end."""
        self.read(raw)
        if raw.get("text") == "" and raw.get("flush") is not True:
            self.finish()
        else:
            self.text(DEFAULT_CONTEXT, raw)

    def mark(self, context_id: str) -> dict[str, str]:
        """Nothing: there is no other context."""
        return {}

    def _fail_context(self, code: str, message: str, context_id: str | None) -> None:
        super()._fail_context(code, message, context_id)
        if context_id is not None:
            self.do(SessionClose())


def _times(characters: Sequence[Span]) -> dict[str, list[Any]] | None:
    """Characters and their times from the beginning of the chunk, whole milliseconds."""
    if not characters:
        return None
    starts_ms = [round(span.start_ms) for span in characters]
    ends_ms = [*starts_ms[1:], round(characters[-1].end_ms)]
    return {
        "chars": [span.text for span in characters],
        "charStartTimesMs": starts_ms,
        "charDurationsMs": [end - start for start, end in zip(starts_ms, ends_ms, strict=True)],
    }
