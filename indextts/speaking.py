"""What both families share: the model around its parts, timed work items, codes under guard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from indextts.config import WritingConfig
from indextts.engines.base import Engine, Generation, Progress, SamplingParams
from indextts.gpt.sampling import looped_tail
from indextts.tensors import Prompt
from indextts.text.language import Language
from indextts.text.process import FrontendProcess
from streaming.errors import SynthesisFailed
from streaming.request import SynthesisRequest
from streaming.speech import (
    ModelInfo,
    Prepared,
    Recording,
    Samples,
    Take,
    Urgency,
    VoiceT,
    Worker,
)

T = TypeVar("T")

_SPARE_CODES = 50
_RUNAWAY_CODES = 100
_WHENEVER = Urgency(lead_s=lambda: float("inf"))


@dataclass(slots=True, kw_only=True)
class Stages:
    """Runs the items of one chunk and sums the seconds of each stage."""

    worker: Worker
    urgency: Urgency
    seconds: dict[str, float] = field(default_factory=dict)

    async def run(self, stage: str, work: Callable[[], T]) -> T:
        """The result of ``work()`` on the worker, counted under ``stage``."""

        def timed() -> T:
            began = time.perf_counter()
            with torch.inference_mode():
                result = work()
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began
            return result

        return await self.worker.run(timed, self.urgency, name=stage)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CodeWriter:
    """Asks the engine for codes and watches over them.

    ``positions`` is what the engine has room for: prompt and codes of one chunk together.
    """

    engine: Engine
    defaults: WritingConfig
    positions: int
    max_codes: int

    async def write(
        self,
        prepared: Prepared,
        take: Take[VoiceT],
        prompt: Prompt,
        progress: Progress | None = None,
    ) -> tuple[Generation, int]:
        """Codes that end by themselves, and how often they were tried again.

        Runaways and stumps are tried again with another seed, unless a reader has taken some of
        their ``progress`` already. A stump is shorter than any reading of the text; the longest one
        serves when all are. Raises ``SynthesisFailed`` when there is none, and what the engine
        raises.
        """
        stump: Generation | None = None
        enough = self.defaults.min_codes_per_text_token * len(prepared.token_ids)
        for attempt in range(self.defaults.retries + 1):
            params = self._sampling(prepared, take, attempt, room=self.positions - prompt.shape[1])
            name = f"{take.request.request_id}/{take.chunk_index}/{attempt}"
            generation = await self.engine.generate(name, prompt, params, take.urgency, progress)
            count = generation.codes.shape[1]
            looped = looped_tail(generation.codes[0].tolist())
            if generation.stopped and count and looped < _RUNAWAY_CODES:
                if count >= enough:
                    return generation, attempt
                if stump is None or count > stump.codes.shape[1]:
                    stump = generation
            if progress is not None and not progress.restart():
                break
        if stump is not None:
            return stump, attempt
        raise SynthesisFailed("the model did not come to an end with this text; try another seed")

    def _sampling(
        self, prepared: Prepared, take: Take[VoiceT], attempt: int, room: int
    ) -> SamplingParams:
        asked, default = take.request.sampling, self.defaults
        budget = int(_SPARE_CODES + len(prepared.token_ids) * default.max_codes_per_text_token)

        def either(value: T | None, otherwise: T) -> T:
            return otherwise if value is None else value

        return SamplingParams(
            temperature=either(asked.temperature, default.temperature),
            top_k=either(asked.top_k, default.top_k),
            top_p=either(asked.top_p, default.top_p),
            repetition_penalty=either(asked.repetition_penalty, default.repetition_penalty),
            seed=_seed(take.request.seed, take.chunk_index, attempt),
            max_codes=min(budget, room, self.max_codes),
        )


class VoiceEncoder(Protocol[VoiceT]):
    """Recordings to a voice; ``fingerprint`` names the weights."""

    @property
    def fingerprint(self) -> str:
        """Hexadecimal."""
        ...

    async def encode_on(
        self, worker: Worker, recordings: Sequence[Recording], urgency: Urgency
    ) -> VoiceT:
        """In steps that are items of ``worker``; raises ``BadRecording``."""
        ...

    def dump(self, voice: VoiceT) -> dict[str, NDArray[np.float32]]:
        """Plain arrays that hold the voice."""
        ...

    def load(self, arrays: Mapping[str, NDArray[np.float32]]) -> VoiceT:
        """The voice that ``dump`` wrote; ``ValueError`` when it is of another model."""
        ...


class FamilyModel(Generic[VoiceT]):
    """Everything of ``streaming.speech.SpeechModel`` but ``speak``, which each family adds.

    ``glossary`` says how terms are read unless a request says otherwise.
    """

    def __init__(
        self,
        *,
        info: ModelInfo,
        encoder: VoiceEncoder[VoiceT],
        frontend: FrontendProcess,
        writer: CodeWriter,
        worker: Worker,
        glossary: Mapping[str, str] | None = None,
    ) -> None:
        self.info = info
        self._encoder, self._frontend, self._writer = encoder, frontend, writer
        self._worker, self._glossary = worker, glossary or {}

    @property
    def engine(self) -> Engine:
        """Who decodes."""
        return self._writer.engine

    def write_with(self, engine: Engine) -> None:
        """Let another engine decode; before ``start``."""
        self._writer = replace(self._writer, engine=engine)

    @property
    def fingerprint(self) -> str:
        """Names the weights, for whoever keeps encoded voices."""
        return self._encoder.fingerprint

    async def start(self) -> None:
        """Begin to serve."""
        await asyncio.to_thread(self._frontend.start)
        await self.engine.start()

    async def close(self) -> None:
        """End the engine and the text front end's process."""
        await self.engine.close()
        await asyncio.to_thread(self._frontend.close)

    def estimate_tokens(self, text: str) -> int:
        """Cheap upper bound of the token count, safe on the event loop."""
        return self._frontend.estimate_tokens(text)

    def check(self, request: SynthesisRequest) -> None:
        """Raise ``BadConfig`` for what this model cannot do."""

    def prepare(self, text: str, request: SynthesisRequest) -> tuple[Prepared, ...]:
        """Normalize and tokenize; one segment unless the text exceeds ``info.limit_tokens``.

        Raises ``BadConfig`` for what this model cannot do.
        """
        self.check(request)
        segments = self._frontend.prepare(
            text,
            max_tokens=self.info.limit_tokens,
            glossary={**self._glossary, **request.glossary},
            language=_language_of(request.language),
        )
        return tuple(
            Prepared(
                text=segment.text,
                normalized_text=segment.normalized_text,
                token_ids=segment.token_ids,
            )
            for segment in segments
        )

    async def encode(self, recordings: Sequence[Recording]) -> VoiceT:
        """Everything that depends on the recordings alone; raises ``BadRecording``."""
        return await self._encoder.encode_on(self._worker, recordings, _WHENEVER)

    def dump(self, voice: VoiceT) -> dict[str, NDArray[np.float32]]:
        """Plain arrays that hold the voice."""
        return self._encoder.dump(voice)

    def load(self, arrays: Mapping[str, NDArray[np.float32]]) -> VoiceT:
        """The voice that ``dump`` wrote; ``ValueError`` when it is of another model."""
        return self._encoder.load(arrays)


def describe(
    name: str, version: object, sample_rate_hz: int, limit_tokens: int, defaults: WritingConfig
) -> ModelInfo:
    """What a checkpoint says of itself."""
    return ModelInfo(
        name=name,
        version=str(version),
        sample_rate_hz=sample_rate_hz,
        first_chunk_tokens=min(defaults.first_chunk_tokens, limit_tokens),
        max_chunk_tokens=min(defaults.max_chunk_tokens, limit_tokens),
        limit_tokens=limit_tokens,
        tokens_per_second=defaults.tokens_per_second,
        languages=defaults.languages,
    )


def _language_of(tag: str | None) -> Language | None:
    """The language of a tag such as ``zh-CN``; ``None`` leaves it to the text."""
    known: dict[str, Language] = {"zh": "zh", "en": "en"}
    return known.get((tag or "").lower().split("-")[0])


def to_samples(work: Callable[[], Tensor]) -> Samples:
    """Float32 samples ``[n]`` of one vocoder item; raises ``SynthesisFailed`` for bad numbers."""
    samples: Samples = work()[0, 0].float().cpu().numpy()
    if not np.isfinite(samples).all():
        raise SynthesisFailed("the model's output is not a number")
    return samples


def _seed(seed: int, chunk_index: int, attempt: int) -> int:
    """A seed of this chunk and attempt alone."""
    words = np.random.SeedSequence((seed, chunk_index, attempt)).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))
