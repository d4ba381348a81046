"""The native protocol without sockets: messages and pipeline events in, effects out.

A session never waits and never reads a clock: time is passed in. What happens to its contexts is
the table in ``streaming.states``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from streaming.delivery import MakeEncoder, only_pcm
from streaming.effects import Close, Effect, Resume, Send
from streaming.errors import (
    AccessError,
    BadConfig,
    BadMessage,
    Draining,
    Idle,
    Internal,
    SpeechError,
    Stalled,
    TextTooLong,
)
from streaming.events import Event, SpeechDone
from streaming.fields import SpeechConfig
from streaming.replay import Replay
from streaming.states import OPEN, Contexts, Signal, State
from streaming.wire import (
    ClientMessage,
    InputCancel,
    InputDone,
    InputFlush,
    InputText,
    Ping,
    Pong,
    SessionClose,
    SessionConfig,
    SessionCreated,
    Warn,
    context_of,
    message_from,
    parse_json,
)

BAD_MESSAGES_IN_A_ROW = 3
_ENDS_SESSION = (AccessError, Idle, Stalled, Internal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The published limits."""

    message_characters: int = 20_000
    context_characters: int = 100_000
    contexts: int = 16
    frame_bytes: int = 3 * 2**20
    unsent_audio_s: float = 30.0
    write_stall_s: float = 20.0
    idle_s: float = 300.0
    session_s: float = 4 * 3600.0
    active_requests: int = 8
    queued_requests: int = 32
    resume_s: float = 30.0
    replay_bytes: int = 4 * 2**20


class Session:
    """One connection; every method gives the effects its server must carry out in order.

    ``check`` raises ``InputError`` for a configuration that this server cannot serve;
    ``make_encoder`` gives the encoders of formats other than ``pcm``.
    """

    def __init__(
        self,
        *,
        greeting: SessionCreated,
        limits: Limits,
        check: Callable[[SpeechConfig], None],
        now_s: float,
        make_encoder: MakeEncoder = only_pcm,
    ) -> None:
        self.closed = self.resumable = False
        self._greeting = greeting
        self._limits = limits
        self._check = check
        self._contexts = Contexts(
            session_id=greeting.session_id,
            most=limits.contexts,
            most_characters=limits.context_characters,
            make_encoder=make_encoder,
        )
        self._bad_messages = 0
        self._closing: Draining | bool = False
        self._started_s = self._active_s = now_s

    @property
    def live(self) -> int:
        """How many contexts have not ended."""
        return len(self._contexts)

    def open(self) -> list[Effect]:
        """The greeting."""
        return [Send(message=self._greeting)]

    def receive(self, data: str | bytes, now_s: float) -> list[Effect]:
        """A message of the client."""
        if self.closed:
            return []
        self._active_s = now_s
        try:
            if isinstance(data, bytes):
                raise BadMessage("binary where text is due")
            effects = self._handle(parse_json(data))
            self._bad_messages = 0
        except BadMessage as error:
            return self.refuse(error)
        return effects + self._settle()

    def refuse(self, error: BadMessage) -> list[Effect]:
        """A message that makes no sense, to us or to whoever translates for the client."""
        if self.closed:
            return []
        self._bad_messages += 1
        effects = [self.tell(error)]
        if self._bad_messages == BAD_MESSAGES_IN_A_ROW:
            effects += self.end(error, said=True)
        return effects + self._settle()

    def event(self, number: int, event: Event, now_s: float) -> list[Effect]:
        """An event of a context's pipeline; those of a context that ended are dropped."""
        if self.closed:
            return []
        self._active_s = now_s
        context = self._contexts.get(number)
        if not isinstance(event, SpeechDone):
            return self._contexts.signal(context, Signal.OUTPUT, event)
        signal = Signal.SPOKEN if context is None or context.last_run else Signal.RUN_SPOKEN
        return self._contexts.signal(context, signal, event) + self._settle()

    def failed(self, number: int, error: SpeechError) -> list[Effect]:
        """A context's pipeline failed or was refused."""
        context = self._contexts.get(number)
        if self.closed or context is None:
            return []
        effects = self._contexts.signal(context, Signal.FAILED, error)
        if isinstance(error, _ENDS_SESSION):
            effects += self.end(error, said=True)
        return effects + self._settle()

    def replay(self) -> Replay:
        """Where to keep from now on what a lost client misses."""
        return Replay(most_bytes=self._limits.replay_bytes, contexts=self._contexts.all())

    def resume(self, next_sample: Mapping[str, int], replay: Replay) -> list[Effect]:
        """The client is back, on another socket."""
        return replay.resume(self._contexts, next_sample) + self._settle()

    def tell(self, error: SpeechError) -> Effect:
        """An error that ends nothing."""
        return self._contexts.failure(error, None, self._greeting.session_id)

    def tick(self, now_s: float) -> list[Effect]:
        """Time went by: end a session that is idle or too old."""
        if self.closed:
            return []
        # A complete one waits behind one that finishes, or that the client has left open.
        busy = State.FINISHING in map(self._contexts.state, self._contexts.all())
        if now_s - self._active_s > self._limits.idle_s and not busy:
            return self.end(Idle(f"nothing was said for {self._limits.idle_s:g} s"))
        if now_s - self._started_s > self._limits.session_s and not self._closing:
            message = f"a session lasts at most {self._limits.session_s:g} s"
            warning = Send(message=Warn(code="session_expired", message=message))
            return [warning, *self._close(), *self._settle()]
        return []

    def drain(self, error: Draining) -> list[Effect]:
        """Let what is live finish, begin nothing new, then close."""
        self._closing = error
        return self._settle()

    def end(self, error: SpeechError, *, said: bool = False) -> list[Effect]:
        """Stop everything and close with ``error``; ``said`` when the client was told already."""
        if self.closed:
            return []
        self.closed = True
        contexts = self._contexts.all()
        effects = [e for c in contexts for e in self._contexts.signal(c, Signal.FAILED, error)]
        if not effects and not said:
            effects.append(self.tell(error))
        return [*effects, Close(code=error.code, reason=error.message)]

    def _handle(self, raw: dict[str, Any]) -> list[Effect]:
        try:
            return self._message(message_from(raw))
        except BadMessage:
            raise
        except SpeechError as error:
            if raw["type"] == SessionConfig.type:
                return [self.tell(error)]
            # Only a message that names a context gets here; its error is the context's end.
            return self._contexts.refuse(context_of(raw), error)

    def _message(self, message: ClientMessage) -> list[Effect]:
        match message:
            case SessionConfig():
                return self._configure(message)
            case InputText():
                return self._text(message)
            case InputFlush(context_id=context_id):
                return self._contexts.signal_id(context_id, Signal.FLUSH)
            case InputDone(context_id=context_id):
                return self._contexts.signal_id(context_id, Signal.DONE)
            case InputCancel():
                return self._contexts.cancel(message)
            case Ping():
                return [Send(message=Pong())]
            case SessionClose():
                return self._close()

    def _configure(self, message: SessionConfig) -> list[Effect]:
        config = self._contexts.config.updated(message.changes)
        self._check(config)
        if message.resume_token is not None:
            if self.live:
                raise BadConfig("resume before anything is spoken", param="resume_token")
            return [Resume(message=message)]
        if config.framing != self._contexts.config.framing and self.live:
            raise BadConfig("framing cannot change while a context is open", param="framing")
        self._contexts.config = config
        self.resumable = self.resumable if message.resume is None else message.resume
        return []

    def _text(self, message: InputText) -> list[Effect]:
        if not message.text and not message.changes:
            return []
        most = self._limits.message_characters
        if len(message.text) > most:
            raise TextTooLong(f"a message takes at most {most} characters", param="text")
        context = self._contexts.newest(message.context_id)
        goes_on = context is not None and self._contexts.state(context) in OPEN
        if self._closing and not goes_on:
            ending = BadMessage("the session is closing", param="type")
            raise self._closing if isinstance(self._closing, Draining) else ending
        base = context.config if context is not None and goes_on else self._contexts.config
        config = base.updated(message.changes)
        self._check(config)
        if config.framing != self._contexts.config.framing:
            raise BadConfig("framing holds for the whole connection", param="framing")
        return self._contexts.signal(context, Signal.TEXT, message)

    def _close(self) -> list[Effect]:
        self._closing = self._closing or True
        return self._contexts.finish_all()

    def _settle(self) -> list[Effect]:
        """Give turns; when closing and nothing is live any more, close."""
        if self.closed:
            return []
        effects = self._contexts.give_turns()
        if self._closing and not self.live:
            self.closed = True
            if isinstance(self._closing, Draining):
                return [*effects, self.tell(self._closing), Close(code=self._closing.code)]
            return [*effects, Close()]
        return effects
