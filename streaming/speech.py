"""The one seam between the pipeline and a model.

``SpeechModel`` is implemented by ``indextts.v2.model`` and by the tone generator of the tests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from streaming.request import SynthesisRequest

Samples: TypeAlias = NDArray[np.float32]
"""Mono float32 samples in [-1, 1], shape ``[n]``."""

T = TypeVar("T")
VoiceT = TypeVar("VoiceT")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recording:
    """A checked recording: mono float32 samples at ``sample_rate_hz``; ``sha256`` of the file it
    came from.
    """

    samples: Samples
    sample_rate_hz: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What a model says of itself; all numbers come from the checkpoint.

    ``first_chunk_tokens`` and ``max_chunk_tokens`` are the default caps of the first and of later
    chunks, ``limit_tokens`` is what the model can take at all; ``tokens_per_second`` is a rough
    speaking rate.
    """

    name: str
    version: str
    sample_rate_hz: int
    first_chunk_tokens: int
    max_chunk_tokens: int
    limit_tokens: int
    tokens_per_second: float
    languages: tuple[str, ...] = ("en", "zh")
    emotion_from_text: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One segment ready to be spoken: normalized text and token ids, pauses in milliseconds
    around it.
    """

    text: str
    normalized_text: str
    token_ids: tuple[int, ...]
    pause_before_ms: int = 0
    pause_after_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkReport:
    """What it took to speak one chunk; always the last item a model yields for it."""

    codes: int = 0
    retries: int = 0
    trimmed_ms: float = 0.0
    stage_s: Mapping[str, float] = field(default_factory=dict)


class Brake:
    """Stops a context at once: pulled, none of its waiting work items begins any more.

    Pulling takes effect from any thread, before the tasks of the context have heard of their end.
    """

    __slots__ = ("pulled",)

    def __init__(self) -> None:
        self.pulled = False

    def pull(self) -> None:
        """Stop, for good."""
        self.pulled = True


class Floor(Protocol):
    """The right to compute for a context, which others may want meanwhile."""

    async def take(self) -> None:
        """Return when the context may compute; it has something to say."""
        ...

    def leave(self) -> None:
        """Nothing is left to say for now."""
        ...


class Urgency:
    """How soon a chunk's next work item is due; written by the pipeline, read by the device
    worker.

    ``first`` is true until the context's first sample is out. ``lead_s`` tells how many seconds
    of audio the listener still has. Lower ``key()`` runs first: first chunks, then the smallest
    lead.
    """

    __slots__ = ("_brake", "_lead_s", "first")

    def __init__(
        self,
        *,
        first: bool = False,
        lead_s: Callable[[], float] = lambda: 0.0,
        brake: Brake | None = None,
    ) -> None:
        self.first = first
        self._lead_s = lead_s
        self._brake = brake or Brake()

    @property
    def cancelled(self) -> bool:
        """Whether the item must not begin any more."""
        return self._brake.pulled

    def key(self) -> tuple[int, float]:
        """Sort key of a work item of this chunk, evaluated when the worker picks."""
        return (0 if self.first else 1, self._lead_s())


class Worker(Protocol):
    """Owner of the accelerator: runs small blocking work items one at a time, most urgent first.

    A caller that is cancelled while waiting has its item dropped before it begins; an item that
    has begun runs to its end (they are small) and its result is dropped.
    """

    async def run(self, work: Callable[[], T], urgency: Urgency, *, name: str = "") -> T:
        """Run ``work()`` on the worker's thread and give back its result, or raise what it
        raised.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Take(Generic[VoiceT]):
    """Who says a chunk and how: the encoded voice, the emotion's voice if another, the request,
    the place.

    Every random draw of a model depends on ``(request.seed, chunk_index, step)`` and nothing
    else.
    """

    voice: VoiceT
    request: SynthesisRequest
    chunk_index: int
    urgency: Urgency
    emotion_voice: VoiceT | None = None


class SpeechModel(Protocol[VoiceT]):
    """A text-to-speech model as the pipeline sees it."""

    @property
    def info(self) -> ModelInfo:
        """Name, rate and limits."""
        ...

    def estimate_tokens(self, text: str) -> int:
        """Cheap upper bound of the token count of ``text``; no normaliser, safe on the event
        loop.
        """
        ...

    def prepare(self, text: str, request: SynthesisRequest) -> tuple[Prepared, ...]:
        """Normalize and tokenize; blocking, call it off the loop.

        Gives one segment, more when the true token count exceeds the limit, none when nothing is
        speakable.
        """
        ...

    def speak(self, prepared: Prepared, take: Take[VoiceT]) -> AsyncIterator[Samples | ChunkReport]:
        """Yield float32 mono arrays at ``info.sample_rate_hz``, then one report. Closing the
        iterator cancels.

        Raises ``SynthesisFailed`` or ``EngineFailed``.
        """
        ...

    async def encode(self, recordings: Sequence[Recording]) -> VoiceT:
        """Compute everything that depends on the voice alone (several recordings are one voice)."""
        ...

    def dump(self, voice: VoiceT) -> dict[str, NDArray[np.float32]]:
        """Plain arrays that hold the voice."""
        ...

    def load(self, arrays: Mapping[str, NDArray[np.float32]]) -> VoiceT:
        """The voice that ``dump`` wrote; raises ``ValueError`` when the arrays are of another
        model.
        """
        ...
