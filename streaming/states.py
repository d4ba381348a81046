"""What can happen to a context and what it does: the ``TABLE`` and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum, auto
from typing import Any

from streaming.context import Context
from streaming.delivery import NOTHING_TO_SPEAK, MakeEncoder
from streaming.effects import Effect, Send, Stop
from streaming.errors import BadConfig, InvalidText, SpeechError
from streaming.events import SpeechDone
from streaming.fields import SpeechConfig
from streaming.wire import Cancelled, Failure, InputCancel, InputText, SessionDone, Warn


class State(Enum):
    """Where a context stands."""

    ABSENT = auto()
    WAITING = auto()
    """Open for text; its turn to speak has not come."""
    COMPLETE = auto()
    """All text is here; its turn to speak has not come."""
    SPEAKING = auto()
    """Open for text, and speaking."""
    FINISHING = auto()
    """All text is here; speaks the rest."""


class Signal(Enum):
    """What can happen to a context."""

    TEXT = auto()
    FLUSH = auto()
    DONE = auto()
    CANCEL = auto()
    TURN = auto()
    OUTPUT = auto()
    """A chunk's beginning, audio, or end."""
    RUN_SPOKEN = auto()
    """The pipeline is through with a run, another one waits."""
    SPOKEN = auto()
    FAILED = auto()


TABLE: Mapping[tuple[State, Signal], tuple[State, str]] = {
    # An id nobody uses; text opens a context, an end alone is an empty one.
    (State.ABSENT, Signal.TEXT): (State.WAITING, "open"),
    (State.ABSENT, Signal.FLUSH): (State.ABSENT, "unknown"),
    (State.ABSENT, Signal.DONE): (State.ABSENT, "end_empty"),
    (State.ABSENT, Signal.CANCEL): (State.ABSENT, "unknown"),
    (State.ABSENT, Signal.TURN): (State.ABSENT, "ignore"),
    (State.ABSENT, Signal.OUTPUT): (State.ABSENT, "ignore"),
    (State.ABSENT, Signal.RUN_SPOKEN): (State.ABSENT, "ignore"),
    (State.ABSENT, Signal.SPOKEN): (State.ABSENT, "ignore"),
    (State.ABSENT, Signal.FAILED): (State.ABSENT, "refuse"),
    (State.WAITING, Signal.TEXT): (State.WAITING, "append"),
    (State.WAITING, Signal.FLUSH): (State.WAITING, "flush"),
    (State.WAITING, Signal.DONE): (State.COMPLETE, "finish"),
    (State.WAITING, Signal.CANCEL): (State.ABSENT, "cancel"),
    (State.WAITING, Signal.TURN): (State.SPEAKING, "begin"),
    (State.WAITING, Signal.OUTPUT): (State.WAITING, "ignore"),
    (State.WAITING, Signal.RUN_SPOKEN): (State.WAITING, "ignore"),
    (State.WAITING, Signal.SPOKEN): (State.WAITING, "ignore"),
    (State.WAITING, Signal.FAILED): (State.ABSENT, "fail"),
    # Text behind an end that is not spoken yet is a new context of the same id, behind this one.
    (State.COMPLETE, Signal.TEXT): (State.COMPLETE, "open"),
    (State.COMPLETE, Signal.FLUSH): (State.COMPLETE, "ignore"),
    (State.COMPLETE, Signal.DONE): (State.COMPLETE, "ignore"),
    (State.COMPLETE, Signal.CANCEL): (State.ABSENT, "cancel"),
    (State.COMPLETE, Signal.TURN): (State.FINISHING, "begin"),
    (State.COMPLETE, Signal.OUTPUT): (State.COMPLETE, "ignore"),
    (State.COMPLETE, Signal.RUN_SPOKEN): (State.COMPLETE, "ignore"),
    (State.COMPLETE, Signal.SPOKEN): (State.COMPLETE, "ignore"),
    (State.COMPLETE, Signal.FAILED): (State.ABSENT, "fail"),
    (State.SPEAKING, Signal.TEXT): (State.SPEAKING, "append"),
    (State.SPEAKING, Signal.FLUSH): (State.SPEAKING, "flush"),
    (State.SPEAKING, Signal.DONE): (State.FINISHING, "finish"),
    (State.SPEAKING, Signal.CANCEL): (State.ABSENT, "cancel"),
    (State.SPEAKING, Signal.TURN): (State.SPEAKING, "ignore"),
    (State.SPEAKING, Signal.OUTPUT): (State.SPEAKING, "deliver"),
    (State.SPEAKING, Signal.RUN_SPOKEN): (State.SPEAKING, "next_run"),
    (State.SPEAKING, Signal.SPOKEN): (State.ABSENT, "end"),
    (State.SPEAKING, Signal.FAILED): (State.ABSENT, "fail"),
    (State.FINISHING, Signal.TEXT): (State.FINISHING, "open"),
    (State.FINISHING, Signal.FLUSH): (State.FINISHING, "ignore"),
    (State.FINISHING, Signal.DONE): (State.FINISHING, "ignore"),
    (State.FINISHING, Signal.CANCEL): (State.ABSENT, "cancel"),
    (State.FINISHING, Signal.TURN): (State.FINISHING, "ignore"),
    (State.FINISHING, Signal.OUTPUT): (State.FINISHING, "deliver"),
    (State.FINISHING, Signal.RUN_SPOKEN): (State.FINISHING, "next_run"),
    (State.FINISHING, Signal.SPOKEN): (State.ABSENT, "end"),
    (State.FINISHING, Signal.FAILED): (State.ABSENT, "fail"),
}
"""(state, signal) -> (next state, action); the action is a method of ``Contexts``, after a "_"."""

OPEN = (State.WAITING, State.SPEAKING)
"""Where a context still takes text."""


class Contexts:
    """The contexts of one session, oldest first, and the table's actions.

    An action takes the context (``None`` for an id nobody uses) and what came with the signal.
    """

    def __init__(
        self, *, session_id: str, most: int, most_characters: int, make_encoder: MakeEncoder
    ) -> None:
        self.config = SpeechConfig()
        self._session_id = session_id
        self._most = most
        self._most_characters = most_characters
        self._make_encoder = make_encoder
        self._opened = 0
        self._contexts: dict[int, Context] = {}
        self._states: dict[int, State] = {}
        self._actions: Mapping[str, Callable[[Any, Any], list[Effect]]] = {
            name: getattr(self, f"_{name}") for _, name in TABLE.values()
        }

    def __len__(self) -> int:
        return len(self._contexts)

    def get(self, number: int) -> Context | None:
        """The context of that number, while it lives."""
        return self._contexts.get(number)

    def all(self, context_id: str | None = None) -> list[Context]:
        """Every living context, or those that share an id."""
        return [c for c in self._contexts.values() if context_id in (None, c.context_id)]

    def newest(self, context_id: str) -> Context | None:
        """The context that a client means by an id."""
        return next(reversed(self.all(context_id)), None)

    def state(self, context: Context | None) -> State:
        """Where a context stands."""
        return self._states[context.number] if context else State.ABSENT

    def signal(self, context: Context | None, signal: Signal, data: Any = None) -> list[Effect]:
        """Carry out a cell of the table; when its action raises, nothing has changed."""
        following, action = TABLE[self.state(context), signal]
        effects = self._actions[action](context, data)
        if context is not None:
            if following is State.ABSENT:
                del self._contexts[context.number], self._states[context.number]
            else:
                self._states[context.number] = following
        return effects

    def signal_id(self, context_id: str, signal: Signal) -> list[Effect]:
        """A signal for the context that a client means."""
        return self.signal(self.newest(context_id), signal, context_id)

    def give_turns(self) -> list[Effect]:
        """Contexts speak one after another; with tagged framing only those of one id do."""
        effects: list[Effect] = []
        busy: set[str] = set()
        for context in self.all():
            lane = context.context_id if self.config.framing == "tagged" else ""
            if lane not in busy:
                effects += self.signal(context, Signal.TURN)
            busy.add(lane)
        return effects

    def cancel(self, message: InputCancel) -> list[Effect]:
        """Cancel every context of an id."""
        effects: list[Effect] = []
        for context in self.all(message.context_id):
            effects += self.signal(context, Signal.CANCEL, message.played_samples)
        return effects or self.signal(None, Signal.CANCEL, message.context_id)

    def finish_all(self) -> list[Effect]:
        """No more text for any context."""
        effects: list[Effect] = []
        for context in self.all():
            try:
                effects += self.signal(context, Signal.DONE, context.context_id)
            except InvalidText as error:
                effects += self.signal(context, Signal.FAILED, error)
        return effects

    def refuse(self, context_id: str, error: SpeechError) -> list[Effect]:
        """A message for a context is in error, which is the end of that context if it is open."""
        context = self.newest(context_id)
        if self.state(context) in OPEN:
            return self.signal(context, Signal.FAILED, error)
        return self.signal(None, Signal.FAILED, (context_id, error))

    def failure(self, error: SpeechError, context_id: str | None, request_id: str) -> Send:
        """The message that tells of an error."""
        message = Failure(
            code=error.code,
            message=error.message,
            request_id=error.request_id or request_id,
            context_id=context_id,
            param=error.param,
            retry_after_s=error.retry_after_s,
        )
        return Send(message=message)

    def _open(self, _: Context | None, message: InputText) -> list[Effect]:
        if len(self) >= self._most:
            raise BadConfig(f"a session has at most {self._most} contexts", param="context_id")
        context = Context(
            context_id=message.context_id,
            number=self._opened,
            session_id=self._session_id,
            config=self.config,
            limit=self._most_characters,
            make_encoder=self._make_encoder,
        )
        effects = self._append(context, message)
        self._opened += 1
        self._contexts[context.number] = context
        self._states[context.number] = TABLE[State.ABSENT, Signal.TEXT][0]
        return effects

    def _append(self, context: Context, message: InputText) -> list[Effect]:
        return context.append(message.text, message.changes)

    def _flush(self, context: Context, _: object) -> list[Effect]:
        return context.flush()

    def _finish(self, context: Context, _: object) -> list[Effect]:
        return context.finish()

    def _begin(self, context: Context, _: object) -> list[Effect]:
        return context.begin(finished=self.state(context) is State.COMPLETE)

    def _deliver(self, context: Context, event: Any) -> list[Effect]:
        return context.deliver(event)

    def _next_run(self, context: Context, event: SpeechDone) -> list[Effect]:
        context.end_run(event)
        return context.begin(finished=self.state(context) is State.FINISHING)

    def _end(self, context: Context, event: SpeechDone) -> list[Effect]:
        context.end_run(event)
        return context.done()

    def _cancel(self, context: Context, played_samples: int | None) -> list[Effect]:
        heard = None if played_samples is None else context.heard_text_end(played_samples)
        message = Cancelled(
            context_id=context.context_id,
            sent_samples=context.sent_samples,
            heard_text_end=heard,
        )
        return [Stop(context=context.number), Send(message=message, context=context.number)]

    def _fail(self, context: Context, error: SpeechError) -> list[Effect]:
        told = self.failure(error, context.context_id, context.request_id)
        return [Stop(context=context.number), replace(told, context=context.number)]

    def _refuse(self, _: None, data: tuple[str, SpeechError]) -> list[Effect]:
        return [self.failure(data[1], data[0], self._session_id)]

    def _end_empty(self, _: None, context_id: str) -> list[Effect]:
        done = SessionDone(
            context_id=context_id,
            total_sentences=0,
            total_samples=0,
            characters_in=0,
            characters_spoken=0,
        )
        warning = Warn(
            code=NOTHING_TO_SPEAK.code, message=NOTHING_TO_SPEAK.message, context_id=context_id
        )
        return [Send(message=warning), Send(message=done)]

    def _unknown(self, _: None, context_id: str) -> list[Effect]:
        warning = Warn(code="no_context", message="no such context is open", context_id=context_id)
        return [Send(message=warning)]

    def _ignore(self, _: Context | None, __: object) -> list[Effect]:
        return []
