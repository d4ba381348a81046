"""What a context sends: its chunks packed for the wire, and their accounts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from streaming.effects import Audio, Effect, Send
from streaming.events import AudioFrame, ChunkDone, ChunkStarted, SpeechDone, Warned
from streaming.fields import SpeechConfig
from streaming.timings import ChunkTimer, ChunkTimes, Span, srt, vtt
from streaming.wire import AudioDone, AudioStart, ServerMessage, SessionDone, Warn

NOTHING_TO_SPEAK = Warned(code="empty_input", message="the context had nothing to speak")

_CHARACTERS_PER_SECOND = 15.0


class Encoder(Protocol):
    """Makes a file of the PCM of one chunk, piece by piece."""

    def encode(self, pcm: bytes) -> bytes:
        """Take mono s16le PCM."""
        ...

    def finish(self) -> bytes:
        """Give what is left."""
        ...


MakeEncoder = Callable[[str, int], Encoder]
"""Gives the encoder of a format, which is not ``pcm``, for PCM of a rate."""


def only_pcm(audio_format: str, sample_rate_hz: int) -> Encoder:
    """Stand in for encoders where ``pcm`` is all there is."""
    raise ValueError(f"no encoder for {audio_format} at {sample_rate_hz} Hz")


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


class _Chunk:
    """The chunk that is being sent: its encoder, its clock, its bytes."""

    def __init__(self, start: AudioStart, config: SpeechConfig, make_encoder: MakeEncoder) -> None:
        self.start = start
        self.config = config
        self.total_bytes = 0
        self._encoder = None
        if config.format != "pcm":
            self._encoder = make_encoder(config.format, start.sample_rate)
        self._timer: ChunkTimer | None = None
        if config.timestamps != "off" or config.subtitles:
            self._timer = ChunkTimer(
                text=start.sentence_text,
                first_sample=start.first_sample,
                sample_rate_hz=start.sample_rate,
            )

    def take(self, pcm: bytes) -> bytes:
        """What there is to send when these samples are added."""
        if self._timer is not None:
            self._timer.push(pcm)
        return self._counted(pcm if self._encoder is None else self._encoder.encode(pcm))

    def finish(self) -> bytes:
        """What is left to send."""
        return self._counted(b"" if self._encoder is None else self._encoder.finish())

    def times(self) -> ChunkTimes | None:
        """When it is heard, if somebody asked."""
        return None if self._timer is None else self._timer.times()

    def _counted(self, data: bytes) -> bytes:
        self.total_bytes += len(data)
        return data


class Delivery:
    """The outgoing half of a context; every method gives the effects of what happened.

    Chunks, samples and characters are counted over all runs of the context.
    """

    def __init__(self, *, context_id: str, number: int, make_encoder: MakeEncoder) -> None:
        self.sent_samples = 0
        self._context_id = context_id
        self._number = number
        self._make_encoder = make_encoder
        self._chunk: _Chunk | None = None
        self._transcript = _Transcript()
        self._cues: list[Span] = []
        self._warned: set[str] = set()
        self._sequence = 0
        self._packed_samples = 0
        self._retries = 0
        self._trimmed_ms = 0.0
        self._base = _NOTHING

    def pack(
        self, event: ChunkStarted | AudioFrame | ChunkDone | Warned, config: SpeechConfig
    ) -> list[Effect]:
        """One event of the pipeline, packed as the run it belongs to asks."""
        match event:
            case AudioFrame():
                return self._audio(event)
            case ChunkStarted():
                return [self._say(self._start(event, config))]
            case ChunkDone():
                return self._end(event)
            case Warned(code=code):
                # A run without speech is no news when others of its context have some: see done.
                if code in self._warned or code == NOTHING_TO_SPEAK.code:
                    return []
                self._warned.add(code)
                return [self._warning(event)]

    def end_run(self, done: SpeechDone) -> None:
        """Add up the accounts of a run that is spoken."""
        self._base = _sum(self._base, done)

    def done(self, config: SpeechConfig, characters_in: int) -> list[Effect]:
        """The last word of a context that was spoken to its end."""
        total = self._base
        effects = [] if total.samples else [self._warning(NOTHING_TO_SPEAK)]
        render = {"srt": srt, "vtt": vtt}.get(config.subtitles or "")
        message = SessionDone(
            context_id=self._context_id,
            total_sentences=total.chunks,
            total_samples=total.samples,
            characters_in=characters_in,
            characters_spoken=total.characters_spoken,
            timings={
                "first_audio_ms": total.first_audio_ms,
                "queue_ms": total.queue_ms,
                "rtf": total.rtf,
            },
            quality={
                "retries": self._retries,
                "trimmed_ms": self._trimmed_ms,
                "coverage": round(total.characters_spoken / max(1, characters_in), 4),
            },
            subtitles=None if render is None else render(self._cues),
        )
        return [*effects, self._say(message)]

    def heard_text_end(self, played_samples: int) -> int:
        """Up to which character a listener heard who played that many samples."""
        return self._transcript.text_end(min(played_samples, self.sent_samples))

    def _warning(self, warned: Warned) -> Effect:
        message = Warn(code=warned.code, message=warned.message, context_id=self._context_id)
        return self._say(message)

    def _say(self, message: ServerMessage) -> Send:
        return Send(message=message, context=self._number)

    def _start(self, event: ChunkStarted, config: SpeechConfig) -> AudioStart:
        base = self._base
        start = AudioStart(
            context_id=self._context_id,
            utterance_index=self._number,
            sentence_index=base.chunks + event.index,
            sentence_text=event.text,
            normalized_text=event.normalized_text,
            format=config.format,
            sample_rate=event.sample_rate_hz,
            channels=1,
            first_sample=base.samples + event.first_sample,
        )
        self._chunk = _Chunk(start, config, self._make_encoder)
        text_start = base.characters_in + event.text_start
        self._transcript.begin(start, text_start, base.characters_in + event.text_end)
        return start

    def _audio(self, frame: AudioFrame) -> list[Effect]:
        assert self._chunk is not None, "a frame came before its chunk"
        self.sent_samples += frame.samples
        return self._packed(self._chunk, self._chunk.take(frame.pcm))

    def _packed(self, chunk: _Chunk, data: bytes) -> list[Effect]:
        """Encoded audio stands for all samples since the message before it."""
        if not data:
            return []
        audio = Audio(
            context=self._number,
            context_id=self._context_id,
            sequence=self._sequence,
            first_sample=self._packed_samples,
            samples=self.sent_samples - self._packed_samples,
            sample_rate_hz=chunk.start.sample_rate,
            data=data,
            config=chunk.config,
        )
        self._sequence += 1
        self._packed_samples = self.sent_samples
        return [audio]

    def _end(self, event: ChunkDone) -> list[Effect]:
        chunk, report = self._chunk, event.report
        assert chunk is not None, "a chunk ended before it began"
        self._transcript.end(event.samples)
        self._retries += report.retries
        self._trimmed_ms += report.trimmed_ms
        effects = self._packed(chunk, chunk.finish())
        times = chunk.times()
        if times is not None and chunk.config.subtitles:
            self._cues += times.cues
        message = AudioDone(
            context_id=self._context_id,
            sentence_index=self._base.chunks + event.index,
            samples=event.samples,
            total_bytes=chunk.total_bytes,
            duration_ms=event.duration_ms,
            quality={"retries": report.retries, "trimmed_ms": report.trimmed_ms},
            timestamps=_told(times, chunk.config.timestamps),
        )
        return [*effects, self._say(message)]


def _told(times: ChunkTimes | None, wanted: str) -> dict[str, Any] | None:
    """The times of a chunk in the words of the protocol."""
    if times is None or wanted == "off":
        return None
    told: dict[str, Any] = {"start_ms": times.start_ms, "end_ms": times.end_ms}
    if wanted != "chunk":
        name, spans = ("words", times.words) if wanted == "word" else ("chars", times.characters)
        told[name] = [
            {"text": s.text, "start_ms": round(s.start_ms, 1), "end_ms": round(s.end_ms, 1)}
            for s in spans
        ]
    return {**told, "estimated": wanted != "chunk"}


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
