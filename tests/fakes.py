"""Only the clock and the model are faked: a tone for a voice, a clock moved by hand, a player."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streaming.request import SynthesisRequest
from streaming.speech import ChunkReport, ModelInfo, Prepared, Recording, Samples, Take, Worker


class ManualClock:
    """A clock that moves only when told; call it for the time in seconds."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def __call__(self) -> float:
        return self._now_s

    async def sleep(self, seconds: float) -> None:
        """Return once the clock has been moved that far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_s + seconds, next(self._order), woken))
        await woken

    async def settle(self) -> None:
        """Let everything run that does not wait for the clock (or for a thread)."""
        for _ in range(50):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        """Move on, waking sleepers in order."""
        until = self._now_s + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            due, _, woken = heapq.heappop(self._sleepers)
            self._now_s = max(self._now_s, due)
            if not woken.done():
                woken.set_result(None)
            await self.settle()
        self._now_s = until


@dataclass(frozen=True, slots=True, kw_only=True)
class Tone:
    """A voice is a frequency."""

    frequency_hz: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ToneScript:
    """How a ``ToneModel`` behaves.

    ``delay_s`` per stage: ``prepare`` (blocks its thread), ``codes`` (before a chunk's first
    slice), ``slice`` (each slice of ``slice_ms``). ``failures`` raise in ``codes`` of that chunk,
    ``late_failures`` after its first slice, ``prepare_failure`` in ``prepare`` of a text that
    contains the key. ``runaway`` chunks never end.
    """

    delay_s: Mapping[str, float] = field(default_factory=dict)
    slice_ms: float = 100.0
    characters_per_second: float = 15.0
    segment_characters: int | None = None
    failures: Mapping[int, Exception] = field(default_factory=dict)
    late_failures: Mapping[int, Exception] = field(default_factory=dict)
    prepare_failures: Mapping[str, Exception] = field(default_factory=dict)
    runaway: frozenset[int] = frozenset()
    silence_ms: float = 0.0


class ToneModel:
    """Speaks a sine per chunk, as long as the text; implements ``SpeechModel[Tone]``."""

    def __init__(
        self,
        *,
        script: ToneScript | None = None,
        sample_rate_hz: int = 22_050,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        worker: Worker | None = None,
    ) -> None:
        self.script = script or ToneScript()
        self.log: list[tuple[str, str, int]] = []
        self.live = 0
        self.most_live = 0
        self._sleep = sleep
        self._worker = worker
        self._info = ModelInfo(
            name="tone",
            version="1",
            sample_rate_hz=sample_rate_hz,
            first_chunk_tokens=16,
            max_chunk_tokens=64,
            limit_tokens=96,
            tokens_per_second=self.script.characters_per_second / 4,
            emotion_from_text=True,
        )

    @property
    def info(self) -> ModelInfo:
        """Name, rate and limits."""
        return self._info

    def estimate_tokens(self, text: str) -> int:
        """A token per wide character, one per four others."""
        wide = sum(1 for character in text if character >= "\u2e80")
        return wide + math.ceil((len(text) - wide) / 4)

    def prepare(self, text: str, request: SynthesisRequest) -> tuple[Prepared, ...]:
        """Segments of at most ``segment_characters``; none without a letter or digit."""
        self.log.append(("prepare", text, -1))
        time.sleep(self.script.delay_s.get("prepare", 0.0))
        for key, error in self.script.prepare_failures.items():
            if key in text:
                raise error
        if not any(character.isalnum() for character in text):
            return ()
        size = self.script.segment_characters or len(text)
        pieces = (text[start : start + size] for start in range(0, len(text), size))
        return tuple(
            Prepared(
                text=piece,
                normalized_text=piece.strip().lower(),
                token_ids=tuple(range(self.estimate_tokens(piece))),
            )
            for piece in pieces
        )

    def samples_of(self, text: str) -> int:
        """How long a text is, in samples at the model's rate."""
        return round(len(text) / self.script.characters_per_second * self._info.sample_rate_hz)

    async def speak(
        self, prepared: Prepared, take: Take[Tone]
    ) -> AsyncIterator[Samples | ChunkReport]:
        """Slices of a sine at the voice's frequency, then a report."""
        index = take.chunk_index
        self.live += 1
        self.most_live = max(self.most_live, self.live)
        self.log.append(("begin", prepared.text, index))
        try:
            await self._work("codes", take)
            if index in self.script.failures:
                raise self.script.failures[index]
            for samples in self._slices(prepared, take):
                await self._work("slice", take)
                self.log.append(("slice", prepared.text, index))
                yield samples
                if index in self.script.late_failures:
                    raise self.script.late_failures[index]
            self.log.append(("end", prepared.text, index))
            yield ChunkReport(codes=len(prepared.token_ids), stage_s={"codes": 0.0})
        finally:
            self.live -= 1

    def _slices(self, prepared: Prepared, take: Take[Tone]) -> Iterator[Samples]:
        rate_hz = self._info.sample_rate_hz
        step = max(1, round(self.script.slice_ms * rate_hz / 1000))
        total = self.samples_of(prepared.text)
        silent = round(self.script.silence_ms * rate_hz / 1000)
        endless = take.chunk_index in self.script.runaway
        for start in itertools.count(0, step):
            length = step if endless else min(step, total + 2 * silent - start)
            if length <= 0:
                return
            at = np.arange(start, start + length) - silent
            tone = 0.5 * np.sin(2 * np.pi * take.voice.frequency_hz * at / rate_hz)
            audible = (at >= 0) & ((at < total) | endless)
            yield np.where(audible, tone, 0.0).astype(np.float32)

    async def _work(self, stage: str, take: Take[Tone]) -> None:
        delay_s = self.script.delay_s.get(stage, 0.0)
        if self._worker is not None:
            await self._worker.run(lambda: time.sleep(delay_s), take.urgency, name=stage)
        else:
            await self._sleep(delay_s)

    async def encode(self, recordings: Sequence[Recording]) -> Tone:
        """A frequency between 200 and 800 Hz, from the recordings' hashes."""
        await self._sleep(self.script.delay_s.get("encode", 0.0))
        digest = int("".join(recording.sha256 for recording in recordings) or "0", 16)
        return Tone(frequency_hz=200.0 + digest % 600)

    def dump(self, voice: Tone) -> dict[str, NDArray[np.float32]]:
        """One number."""
        return {"frequency_hz": np.array([voice.frequency_hz], dtype=np.float32)}

    def load(self, arrays: Mapping[str, NDArray[np.float32]]) -> Tone:
        """The voice of ``dump``; ``ValueError`` for anything else."""
        if set(arrays) != {"frequency_hz"}:
            raise ValueError("these arrays hold no tone")
        return Tone(frequency_hz=float(arrays["frequency_hz"][0]))


class SilentPlayer:
    """Plays to nobody: starts ``start_after_s`` after the first sample and counts its droughts."""

    def __init__(
        self, *, sample_rate_hz: int, clock: Callable[[], float], start_after_s: float = 0.2
    ) -> None:
        self.samples = 0
        self.underruns = 0
        self.dry_s = 0.0
        self._rate_hz = sample_rate_hz
        self._clock = clock
        self._start_after_s = start_after_s
        self._runs_dry_at_s: float | None = None

    def feed(self, samples: int) -> None:
        """Take samples that arrive now."""
        now_s = self._clock()
        if self._runs_dry_at_s is None:
            self._runs_dry_at_s = now_s + self._start_after_s
        elif now_s > self._runs_dry_at_s:
            self.underruns += 1
            self.dry_s += now_s - self._runs_dry_at_s
            self._runs_dry_at_s = now_s
        self.samples += samples
        self._runs_dry_at_s += samples / self._rate_hz
