"""One context of a session: its text on the way in; what goes out is ``streaming.delivery``.

A context is a row of runs: a change of configuration in mid-text ends the run of the pipeline and
begins another, while sample offsets, sequence numbers and chunk indices go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from streaming.delivery import Delivery, MakeEncoder
from streaming.effects import Begin, Effect, Feed, Finish, Flush
from streaming.errors import BadConfig, TextTooLong
from streaming.events import AudioFrame, ChunkDone, ChunkStarted, SpeechDone, Warned
from streaming.fields import LONGEST_TERM, MAX_REFERENCE_BYTES, Changes, SpeechConfig
from streaming.surrogates import join_text

MOST_RUNS, MOST_BYTES = 1_000, 4 * MAX_REFERENCE_BYTES
"""Changes of configuration that may wait to be spoken in a context, and what they hold."""

_TERM_BYTES = 8 * LONGEST_TERM
_FIXED = ("format", "sample_rate", "encoding", "max_lead_s")


@dataclass(slots=True, kw_only=True)
class _Run:
    config: SpeechConfig
    pieces: list[str | None] = field(default_factory=list)
    """Text that waits for the run to begin; ``None`` is a flush."""
    characters: int = 0
    begun: bool = False


def _held_bytes(runs: Iterable[_Run]) -> int:
    """Bytes of the recordings and glossaries that runs hold."""
    held: dict[int, int] = {}
    for run in runs:
        reference, glossary = run.config.emotion.reference, run.config.glossary
        held[id(reference)] = len(reference) if isinstance(reference, bytes) else 0
        held[id(glossary)] = _TERM_BYTES * len(glossary)
    return sum(held.values())


class Context:
    """Accounts of one context; every method gives the effects of what happened."""

    def __init__(
        self,
        *,
        context_id: str,
        number: int,
        session_id: str,
        config: SpeechConfig,
        limit: int,
        make_encoder: MakeEncoder,
    ) -> None:
        self.context_id = context_id
        self.number = number
        self.request_id = f"{session_id}-{number}"
        self.config = config
        self._delivery = Delivery(context_id=context_id, number=number, make_encoder=make_encoder)
        self._limit = limit
        self._held = ""
        self._runs = deque([_Run(config=config)])
        self.characters_in = 0

    @property
    def sent_samples(self) -> int:
        """Samples handed over to be sent."""
        return self._delivery.sent_samples

    @property
    def last_run(self) -> bool:
        """Whether no other run waits behind the one that speaks."""
        return len(self._runs) == 1

    def append(self, text: str, changes: Changes) -> list[Effect]:
        """Take more text, under a changed configuration if it differs.

        Raises ``InvalidText``, ``TextTooLong`` and, for what holds for a whole context,
        ``BadConfig``.
        """
        body, self._held = join_text(self._held, text)
        effects = self._reconfigure(changes)
        self.characters_in += len(body)
        if self.characters_in > self._limit:
            raise TextTooLong(f"a context takes at most {self._limit} characters", param="text")
        if body:
            self._runs[-1].characters += len(body)
            effects += self._give(body)
        return effects

    def flush(self) -> list[Effect]:
        """Speak what is buffered."""
        return self._give(None)

    def finish(self) -> list[Effect]:
        """There is no more text; raises ``InvalidText`` when half a surrogate pair is held."""
        join_text("", self._held + " " if self._held else "")
        return [Finish(context=self.number)] if self._runs[-1].begun else []

    def begin(self, *, finished: bool) -> list[Effect]:
        """Start the run that is next and hand over the text that waited."""
        run = self._runs[0]
        run.begun = True
        effects: list[Effect] = [
            Begin(context=self.number, request_id=self.request_id, config=run.config)
        ]
        for piece in run.pieces:
            effects.append(
                Flush(context=self.number)
                if piece is None
                else Feed(context=self.number, text=piece)
            )
        run.pieces.clear()
        if finished or not self.last_run:
            effects.append(Finish(context=self.number))
        return effects

    def end_run(self, done: SpeechDone) -> None:
        """Add up the accounts of a run that is spoken."""
        run = self._runs.popleft()
        self._delivery.end_run(replace(done, characters_in=run.characters))

    def done(self) -> list[Effect]:
        """The last word of a context that was spoken to its end."""
        return self._delivery.done(self.config, self.characters_in)

    def deliver(self, event: ChunkStarted | AudioFrame | ChunkDone | Warned) -> list[Effect]:
        """Pack one event of the pipeline for the wire."""
        return self._delivery.pack(event, self._runs[0].config)

    def heard_text_end(self, played_samples: int) -> int:
        """Up to which character a listener heard who played that many samples."""
        return self._delivery.heard_text_end(played_samples)

    def _reconfigure(self, changes: Changes) -> list[Effect]:
        config = self.config.updated(changes)
        for name in _FIXED:
            if getattr(config, name) != getattr(self.config, name) and self.characters_in:
                raise BadConfig(f"{name} holds for a whole context", param=name)
        if config == self.config:
            return []
        self.config = config
        last = self._runs[-1]
        if not last.characters and not last.begun:
            last.config = config
            return []
        if len(self._runs) > MOST_RUNS or _held_bytes(self._runs) > MOST_BYTES:
            raise BadConfig("too many changes wait to be spoken", param="type")
        self._runs.append(_Run(config=config))
        return [Finish(context=self.number)] if last.begun else []

    def _give(self, piece: str | None) -> list[Effect]:
        run = self._runs[-1]
        if not run.begun:
            if piece is not None or run.pieces[-1:] != [None]:
                run.pieces.append(piece)
            return []
        if piece is None:
            return [Flush(context=self.number)]
        return [Feed(context=self.number, text=piece)]
