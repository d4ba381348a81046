"""One context of a session: its text on the way in, its audio's accounts on the way out.

A context is a row of runs: a change of configuration in mid-text ends the run of the pipeline and
begins another, while sample offsets, sequence numbers and chunk indices go on.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from streaming.effects import Audio, Begin, Effect, Feed, Finish, Flush, Send
from streaming.errors import BadConfig, TextTooLong
from streaming.events import AudioFrame, ChunkDone, ChunkStarted, SpeechDone, Warned
from streaming.fields import MAX_REFERENCE_BYTES, Changes, SpeechConfig
from streaming.wire import AudioDelta, AudioDone, AudioStart, SessionDone, Warn, join_text, tag

MOST_RUNS, MOST_BYTES = 1_000, 4 * MAX_REFERENCE_BYTES
"""Changes of configuration that may wait to be spoken in a context, and their recordings."""

_FIXED = ("format", "sample_rate", "encoding", "max_lead_s")
_CHARACTERS_PER_SECOND = 15.0
NOTHING_TO_SPEAK = Warned(code="empty_input", message="the context had nothing to speak")


@dataclass(slots=True, kw_only=True)
class _Run:
    config: SpeechConfig
    pieces: list[str | None] = field(default_factory=list)
    """Text that waits for the run to begin; ``None`` is a flush."""
    characters: int = 0
    begun: bool = False


def _held_bytes(runs: Iterable[_Run]) -> int:
    """Bytes of the recordings that runs hold."""
    held = {id(run.config.emotion.reference): run.config.emotion.reference for run in runs}
    return sum(len(recording) for recording in held.values() if isinstance(recording, bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    first_sample: int
    text_start: int
    text_end: int
    samples: int


class _Transcript:
    """Which text belongs to which samples, chunk by chunk."""

    def __init__(self) -> None:
        self._stretches: list[_Stretch] = []

    def begin(self, start: AudioStart, text_start: int, text_end: int) -> None:
        """A chunk starts; how long it will be is a guess until it ends."""
        seconds = (text_end - text_start) / _CHARACTERS_PER_SECOND
        self._stretches.append(
            _Stretch(
                first_sample=start.first_sample,
                text_start=text_start,
                text_end=text_end,
                samples=max(1, round(seconds * start.sample_rate)),
            )
        )

    def end(self, samples: int) -> None:
        """The last chunk is complete."""
        self._stretches[-1] = replace(self._stretches[-1], samples=max(1, samples))

    def text_end(self, played_samples: int) -> int:
        """Up to which character one heard: exact at chunk ends, in proportion inside."""
        heard = 0
        for stretch in self._stretches:
            inside = played_samples - stretch.first_sample
            if inside <= 0:
                break
            length = stretch.text_end - stretch.text_start
            heard = stretch.text_start + min(length, round(inside / stretch.samples * length))
        return heard


class Context:
    """Accounts of one context; every method gives the effects of what happened."""

    def __init__(
        self, *, context_id: str, number: int, request_id: str, config: SpeechConfig, limit: int
    ) -> None:
        self.context_id = context_id
        self.number = number
        self.request_id = request_id
        self.config = config
        self.sent_samples = 0
        self._limit = limit
        self._held = ""
        self._runs = deque([_Run(config=config)])
        self._chunk: AudioStart | None = None
        self._transcript = _Transcript()
        self._warned: set[str] = set()
        self._sequence = 0
        self._characters_in = 0
        self._base = _NOTHING

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
        self._characters_in += len(body)
        if self._characters_in > self._limit:
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
        self._base = _sum(self._base, replace(done, characters_in=run.characters))

    def done(self) -> list[Effect]:
        """The last word of a context that was spoken to its end."""
        total = self._base
        effects = [] if total.samples else [self._warning(NOTHING_TO_SPEAK)]
        message = SessionDone(
            context_id=self.context_id,
            total_sentences=total.chunks,
            total_samples=total.samples,
            characters_in=self._characters_in,
            characters_spoken=total.characters_spoken,
            timings={
                "first_audio_ms": total.first_audio_ms,
                "queue_ms": total.queue_ms,
                "rtf": total.rtf,
            },
        )
        return [*effects, Send(message=message)]

    def deliver(self, event: ChunkStarted | AudioFrame | ChunkDone | Warned) -> list[Effect]:
        """Pack one event of the pipeline for the wire."""
        match event:
            case AudioFrame():
                return [self._audio(event)]
            case ChunkStarted():
                return [Send(message=self._start(event))]
            case ChunkDone():
                return [Send(message=self._end(event))]
            case Warned(code=code):
                # A run without speech is no news when others of its context have some: see done.
                if code in self._warned or code == NOTHING_TO_SPEAK.code:
                    return []
                self._warned.add(code)
                return [self._warning(event)]

    def heard_text_end(self, played_samples: int) -> int:
        """Up to which character a listener heard who played that many samples."""
        return self._transcript.text_end(min(played_samples, self.sent_samples))

    def _warning(self, warned: Warned) -> Effect:
        message = Warn(code=warned.code, message=warned.message, context_id=self.context_id)
        return Send(message=message)

    def _reconfigure(self, changes: Changes) -> list[Effect]:
        config = self.config.updated(changes)
        for name in _FIXED:
            if getattr(config, name) != getattr(self.config, name) and self._characters_in:
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

    def _start(self, event: ChunkStarted) -> AudioStart:
        base = self._base
        self._chunk = AudioStart(
            context_id=self.context_id,
            utterance_index=self.number,
            sentence_index=base.chunks + event.index,
            sentence_text=event.text,
            normalized_text=event.normalized_text,
            format=self.config.format,
            sample_rate=event.sample_rate_hz,
            channels=1,
            first_sample=base.samples + event.first_sample,
        )
        self._transcript.begin(
            self._chunk, base.characters_in + event.text_start, base.characters_in + event.text_end
        )
        return self._chunk

    def _audio(self, frame: AudioFrame) -> Audio:
        assert self._chunk is not None, "a frame came before its chunk"
        sequence, first_sample = self._sequence, self.sent_samples
        self._sequence += 1
        self.sent_samples += frame.samples
        payload: bytes | AudioDelta = frame.pcm
        if self.config.encoding == "base64":
            payload = AudioDelta(
                context_id=self.context_id,
                utterance_index=self.number,
                sequence=sequence,
                first_sample=first_sample,
                audio=base64.b64encode(frame.pcm).decode("ascii"),
            )
        elif self.config.framing == "tagged":
            payload = tag(self.number, sequence, first_sample, frame.pcm)
        return Audio(
            context=self.number,
            context_id=self.context_id,
            payload=payload,
            duration_s=frame.samples / self._chunk.sample_rate,
            max_lead_s=self.config.max_lead_s,
        )

    def _end(self, event: ChunkDone) -> AudioDone:
        self._transcript.end(event.samples)
        report = event.report
        return AudioDone(
            context_id=self.context_id,
            sentence_index=self._base.chunks + event.index,
            samples=event.samples,
            total_bytes=event.samples * 2,
            duration_ms=event.duration_ms,
            quality={"retries": report.retries, "trimmed_ms": report.trimmed_ms},
        )


_NOTHING = SpeechDone(
    chunks=0,
    samples=0,
    characters_in=0,
    characters_spoken=0,
    first_audio_ms=None,
    queue_ms=0.0,
    rtf=0.0,
)


def _sum(base: SpeechDone, more: SpeechDone) -> SpeechDone:
    """The accounts of two runs together: waits are those of the first that made a sound."""
    samples = base.samples + more.samples
    busy = base.rtf * base.samples + more.rtf * more.samples
    first = base if base.samples else more
    return SpeechDone(
        chunks=base.chunks + more.chunks,
        samples=samples,
        characters_in=base.characters_in + more.characters_in,
        characters_spoken=base.characters_spoken + more.characters_spoken,
        first_audio_ms=first.first_audio_ms,
        queue_ms=first.queue_ms,
        rtf=busy / samples if samples else 0.0,
    )
