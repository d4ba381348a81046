"""What a client was sent lately, so that one that lost its socket hears it again.

A context goes on at the next sample. Of what was said about its chunks, the listener hears again
what it may have missed: where the chunk it goes on in begins, and everything behind that sample.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from streaming.context import Context
from streaming.effects import Audio, Effect, Send
from streaming.errors import ResumeExpired
from streaming.states import OPEN, Contexts, Signal
from streaming.wire import (
    AudioDone,
    AudioStart,
    Cancelled,
    Failure,
    SessionDone,
    SessionResumed,
    encode,
)

KEPT_S = 60.0
"""How long anything is kept."""

_MESSAGE_BYTES = 512
"""What a message that is no audio counts at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    context: int
    effect: Send | Audio
    at_s: float
    behind: int
    """Samples of the context up to and with this effect."""
    size: int


@dataclass(slots=True, kw_only=True)
class _Account:
    context_id: str
    sent: int = 0
    gone: int = 0
    """Samples that are not kept any more."""


class Replay:
    """The newest effects of a connection's contexts: ``most_bytes`` (or one), for ``KEPT_S``.

    ``total_bytes`` counts everything that was ever kept. Of the ``contexts`` that live already,
    what was sent before is not kept.
    """

    def __init__(self, *, most_bytes: int, contexts: Iterable[Context] = ()) -> None:
        self.total_bytes = 0
        self._most_bytes = most_bytes
        self._held_bytes = 0
        self._kept: deque[_Kept] = deque()
        self._accounts = {
            one.number: _Account(
                context_id=one.context_id, sent=one.sent_samples, gone=one.sent_samples
            )
            for one in contexts
        }

    def keep(self, effect: Effect, now_s: float) -> None:
        """Remember what is sent of a context."""
        match effect:
            case Audio(context=number, context_id=context_id):
                account = self._accounts.setdefault(number, _Account(context_id=context_id))
                account.sent = effect.first_sample + effect.samples
            case Send(context=int(number), message=message):
                context_id = getattr(message, "context_id", "")
                account = self._accounts.setdefault(number, _Account(context_id=context_id))
            case _:
                return
        if isinstance(effect, Send) and isinstance(effect.message, Cancelled):
            self._forget(number)
        kept = _Kept(
            context=number, effect=effect, at_s=now_s, behind=account.sent, size=_size(effect)
        )
        self._kept.append(kept)
        self._held_bytes += kept.size
        self.total_bytes += kept.size
        while len(self._kept) > 1 and (
            self._held_bytes > self._most_bytes or self._kept[0].at_s < now_s - KEPT_S
        ):
            self._drop()

    def resume(self, contexts: Contexts, next_sample: Mapping[str, int]) -> list[Effect]:
        """Go on with every context that a client names, and with those that live.

        A name means the oldest context of it that lives, or the newest that ended. What is not kept
        any more is ``ResumeExpired``, which is the end of the context.
        """
        wanted = {one.number: 0 for one in contexts.all()}
        effects: list[Effect] = []
        for context_id, sample in next_sample.items():
            number = self._number(contexts, context_id)
            if number is not None:
                wanted[number] = sample
            elif sample:
                error = ResumeExpired("this context is not kept any more")
                effects += contexts.refuse(context_id, error)
            else:
                unknown = SessionResumed(context_id=context_id, next_sample=0, state="unknown")
                effects.append(Send(message=unknown))
        starts: dict[int, int] = {}
        for number, asked in sorted(wanted.items()):
            start = self._start(contexts, number, asked)
            if start is None:
                effects += self._expired(contexts, number, asked)
            else:
                starts[number] = start
                effects.append(Send(message=self._resumed(contexts, number, start)))
        return effects + self._since(starts)

    def _forget(self, number: int) -> None:
        """Nothing of a cancelled context is heard again; none of it is missed either."""
        self._kept = deque(kept for kept in self._kept if kept.context != number)
        self._held_bytes = sum(kept.size for kept in self._kept)
        self._accounts[number].gone = 0

    def _drop(self) -> None:
        kept = self._kept.popleft()
        self._held_bytes -= kept.size
        self._accounts[kept.context].gone = kept.behind
        message = kept.effect.message if isinstance(kept.effect, Send) else None
        if isinstance(message, SessionDone | Cancelled | Failure):
            del self._accounts[kept.context]

    def _number(self, contexts: Contexts, context_id: str) -> int | None:
        live = contexts.all(context_id)
        ended = [n for n, account in self._accounts.items() if account.context_id == context_id]
        return live[0].number if live else max(ended, default=None)

    def _start(self, contexts: Contexts, number: int, asked: int) -> int | None:
        """Where a listener goes on: the sample asked for, or where the piece begins that has it."""
        account = self._accounts.get(number)
        if account is None:
            context = contexts.get(number)
            sent = context.sent_samples if context is not None else 0
            return sent if asked >= sent else None
        if asked < account.gone:
            return None
        for kept in self._kept:
            effect = kept.effect
            if kept.context == number and isinstance(effect, Audio) and kept.behind > asked:
                return asked if effect.config.format == "pcm" else effect.first_sample
        return min(asked, account.sent)

    def _resumed(self, contexts: Contexts, number: int, start: int) -> SessionResumed:
        context = contexts.get(number)
        if context is None:
            return SessionResumed(
                context_id=self._accounts[number].context_id, next_sample=start, state="ended"
            )
        return SessionResumed(
            context_id=context.context_id,
            next_sample=start,
            state="open" if contexts.state(context) in OPEN else "complete",
            characters_in=context.characters_in,
        )

    def _expired(self, contexts: Contexts, number: int, asked: int) -> list[Effect]:
        error = ResumeExpired(f"sample {asked} is not kept any more")
        context = contexts.get(number)
        if context is not None:
            return contexts.signal(context, Signal.FAILED, error)
        return contexts.refuse(self._accounts[number].context_id, error)

    def _since(self, starts: Mapping[int, int]) -> list[Effect]:
        """What listeners who have all samples before ``starts`` may have missed."""
        again: list[Effect] = []
        begun: dict[int, Send] = {}
        for kept in self._kept:
            start, effect = starts.get(kept.context), kept.effect
            if start is None:
                continue
            if isinstance(effect, Audio):
                if kept.behind > start:
                    again += [begun.pop(kept.context)] if kept.context in begun else []
                    again.append(_behind(effect, start))
            elif isinstance(effect.message, AudioStart):
                begun[kept.context] = effect
            elif kept.behind >= start:
                beginning = begun.pop(kept.context, None)
                if beginning is not None and _first_sample(beginning) >= start:
                    again.append(beginning)
                again.append(effect)
            elif isinstance(effect.message, AudioDone):
                begun.pop(kept.context, None)
        return again + list(begun.values())


def _size(effect: Send | Audio) -> int:
    if isinstance(effect, Audio):
        return len(effect.data)
    return max(_MESSAGE_BYTES, len(encode(effect.message)))


def _first_sample(beginning: Send) -> int:
    assert isinstance(beginning.message, AudioStart)
    return beginning.message.first_sample


def _behind(audio: Audio, sample: int) -> Audio:
    """Audio from a sample on, which only PCM can be cut at."""
    known = sample - audio.first_sample
    if known <= 0:
        return audio
    return replace(
        audio, first_sample=sample, samples=audio.samples - known, data=audio.data[2 * known :]
    )
