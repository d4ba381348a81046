"""Sessions, what is sent to them, and what the pipeline would tell them."""

from __future__ import annotations

import json
from typing import Any

from streaming import wire
from streaming.effects import Effect, Send
from streaming.errors import (
    SynthesisFailed,
    UnsupportedFormat,
)
from streaming.events import AudioFrame, ChunkDone, ChunkStarted, SpeechDone
from streaming.fields import SpeechConfig
from streaming.session import Limits, Session
from streaming.speech import ChunkReport
from streaming.states import Signal, State

LIMITS = Limits(
    message_characters=100, context_characters=150, contexts=3, idle_s=10.0, session_s=100.0
)


GREETING = wire.SessionCreated(session_id="s", model="tone", version="1", limits={})


def only_pcm(config: SpeechConfig) -> None:
    if config.format != "pcm":
        raise UnsupportedFormat("pcm only", param="format")


def new_session() -> Session:
    return Session(greeting=GREETING, limits=LIMITS, check=only_pcm, now_s=0.0)


def send(session: Session, kind: str, now_s: float = 0.0, **fields: Any) -> list[Effect]:
    return session.receive(json.dumps({"type": kind, **fields}), now_s)


def started(index: int = 0, text: str = "Hello", first_sample: int = 0) -> ChunkStarted:
    return ChunkStarted(
        index=index,
        text=text,
        text_start=0,
        text_end=len(text),
        normalized_text=text.lower(),
        first_sample=first_sample,
        sample_rate_hz=1000,
    )


def frame(samples: int, first_sample: int = 0) -> AudioFrame:
    return AudioFrame(pcm=bytes(2 * samples), first_sample=first_sample)


def chunk_done(samples: int, index: int = 0) -> ChunkDone:
    return ChunkDone(
        index=index, samples=samples, duration_ms=float(samples), report=ChunkReport(retries=1)
    )


def spoken(samples: int = 100, characters: int = 5, chunks: int = 1) -> SpeechDone:
    return SpeechDone(
        chunks=chunks,
        samples=samples,
        characters_in=characters,
        characters_spoken=characters,
        first_audio_ms=5.0,
        queue_ms=1.0,
        rtf=0.5,
    )


def kinds(effects: list[Effect]) -> list[str]:
    """Names of effects; messages by type."""
    return [
        effect.message.type if isinstance(effect, Send) else type(effect).__name__
        for effect in effects
    ]


def messages(effects: list[Effect]) -> list[wire.ServerMessage]:
    return [effect.message for effect in effects if isinstance(effect, Send)]


def failure(effects: list[Effect]) -> wire.Failure:
    (message,) = (m for m in messages(effects) if isinstance(m, wire.Failure))
    return message


def session_in(state: State) -> Session:
    """A session whose context ``c`` is in that state; it has number 1 (0 blocks or is gone)."""
    session = new_session()
    if state is State.ABSENT:
        return session
    send(session, "input.text", context_id="blocker", text="Hello")
    send(session, "input.text", context_id="c", text="Hello")
    if state in (State.COMPLETE, State.FINISHING):
        send(session, "input.done", context_id="c")
    if state in (State.SPEAKING, State.FINISHING):
        send(session, "input.cancel", context_id="blocker")
        session.event(1, started(), 0.0)
    return session


def act(session: Session, signal: Signal) -> list[Effect]:
    match signal:
        case Signal.TEXT:
            return send(session, "input.text", context_id="c", text="more")
        case Signal.FLUSH:
            return send(session, "input.flush", context_id="c")
        case Signal.DONE:
            return send(session, "input.done", context_id="c")
        case Signal.CANCEL:
            return send(session, "input.cancel", context_id="c")
        case Signal.TURN:
            return send(session, "input.cancel", context_id="blocker")
        case Signal.OUTPUT:
            return session.event(1, frame(3), 0.0)
        case Signal.SPOKEN:
            return session.event(1, spoken(), 0.0)
        case Signal.RUN_SPOKEN:
            return session.event(1, spoken(), 0.0)
        case Signal.FAILED:
            return session.failed(1, SynthesisFailed("no"))


def state_of_c(session: Session) -> State:
    contexts = session._contexts
    return contexts.state(next(iter(contexts.all("c")), None))
