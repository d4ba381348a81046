"""IndexTTS-2 as the pipeline sees it: every stage as small items on the device worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from indextts.engines.base import Engine, Generation, SamplingParams
from indextts.gpt.prompt import build_prompt
from indextts.gpt.sampling import looped_tail
from indextts.tensors import Codes, Features, Latents, Mel, Prompt
from indextts.text.language import Language
from indextts.text.process import FrontendProcess
from indextts.v2.config import CheckpointConfig
from indextts.v2.emotion_mixer import EmotionMixer
from indextts.v2.flow import FlowSampler, FlowState, draw_noise
from indextts.v2.networks import Networks
from indextts.v2.regulator import target_length
from indextts.v2.voice import Voice, VoiceEncoder, fingerprint
from streaming.errors import SynthesisFailed
from streaming.request import SynthesisRequest
from streaming.speech import (
    ChunkReport,
    ModelInfo,
    Prepared,
    Recording,
    Samples,
    Take,
    Urgency,
    Worker,
)

T = TypeVar("T")

SLICE_FRAMES = (24, 48, 64)
"""Mel frames per vocoder item: a short first one, so that sound leaves early."""

_SPARE_CODES = 50
_RUNAWAY_CODES = 100
_WHENEVER = Urgency(lead_s=lambda: float("inf"))


@dataclass(slots=True, kw_only=True)
class _Stages:
    """Runs the items of one chunk and sums the seconds of each stage."""

    worker: Worker
    urgency: Urgency
    seconds: dict[str, float] = field(default_factory=dict)

    async def run(self, stage: str, work: Callable[[], T]) -> T:
        def timed() -> T:
            began = time.perf_counter()
            with torch.inference_mode():
                result = work()
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began
            return result

        return await self.worker.run(timed, self.urgency, name=stage)


class IndexTTS2:
    """The model family's implementation of ``streaming.speech.SpeechModel``.

    ``positions`` is what the engine has room for: prompt and codes of one chunk together.
    """

    def __init__(
        self,
        *,
        name: str,
        config: CheckpointConfig,
        networks: Networks,
        frontend: FrontendProcess,
        mixer: EmotionMixer,
        engine: Engine,
        worker: Worker,
        positions: int,
    ) -> None:
        self._config = config
        self._networks = networks
        self._frontend = frontend
        self._mixer = mixer
        self._positions = positions
        self._engine = engine
        self._worker = worker
        self._device = networks.cfm.conv1.weight.device
        inference = config.inference
        self._flow = FlowSampler(
            networks.cfm,
            steps=inference.cfm_steps,
            cfg_rate=inference.cfg_rate,
            cfg_cache_interval=inference.cfg_cache_interval,
        )
        self._encoder = _voice_encoder(networks, config, self._regulate)
        self._info = ModelInfo(
            name=name,
            version=str(config.version),
            sample_rate_hz=config.s2mel.preprocess_params.sr,
            first_chunk_tokens=inference.first_chunk_tokens,
            max_chunk_tokens=inference.max_chunk_tokens,
            limit_tokens=config.gpt.max_text_tokens,
            tokens_per_second=inference.tokens_per_second,
            languages=inference.languages,
            emotion_from_text=mixer.classifier is not None,
        )

    @property
    def info(self) -> ModelInfo:
        """Name, rate and limits of the checkpoint."""
        return self._info

    @property
    def engine(self) -> Engine:
        """Who decodes."""
        return self._engine

    @property
    def fingerprint(self) -> str:
        """Names the weights, for whoever keeps encoded voices."""
        return self._encoder.fingerprint

    async def start(self) -> None:
        """Begin to serve."""
        await asyncio.to_thread(self._frontend.start)
        await self._engine.start()

    async def close(self) -> None:
        """End the engine and the text front end's process."""
        await self._engine.close()
        await asyncio.to_thread(self._frontend.close)

    def estimate_tokens(self, text: str) -> int:
        """Cheap upper bound of the token count, safe on the event loop."""
        return self._frontend.estimate_tokens(text)

    def prepare(self, text: str, request: SynthesisRequest) -> tuple[Prepared, ...]:
        """Normalize and tokenize; one segment unless the text exceeds ``info.limit_tokens``.

        Raises ``BadConfig`` for an emotion that needs a classifier where there is none.
        """
        self._mixer.check(request)
        segments = self._frontend.prepare(
            text, max_tokens=self._info.limit_tokens, language=_language(request.language)
        )
        return tuple(
            Prepared(
                text=segment.text,
                normalized_text=segment.normalized_text,
                token_ids=segment.token_ids,
            )
            for segment in segments
        )

    async def encode(self, recordings: Sequence[Recording]) -> Voice:
        """Everything that depends on the recordings alone; raises ``BadRecording``."""
        return await self._encoder.encode_on(self._worker, recordings, _WHENEVER)

    def dump(self, voice: Voice) -> dict[str, NDArray[np.float32]]:
        """Plain arrays that hold the voice."""
        return self._encoder.dump(voice)

    def load(self, arrays: Mapping[str, NDArray[np.float32]]) -> Voice:
        """The voice that ``dump`` wrote; ``ValueError`` when it is of another model."""
        return self._encoder.load(arrays)

    async def speak(
        self, prepared: Prepared, take: Take[Voice]
    ) -> AsyncIterator[Samples | ChunkReport]:
        """Codes, mel, waveform slices, report. Raises ``SynthesisFailed``, ``EngineFailed``."""
        stages = _Stages(worker=self._worker, urgency=take.urgency)
        emotion = await stages.run("emotion", partial(self._mixer.mix, take))
        prompt = await stages.run("prompt", partial(self._prompt, prepared, take.voice, emotion))
        began = time.perf_counter()
        generation, retries = await self._generate(prepared, take, prompt)
        stages.seconds["gpt"] = time.perf_counter() - began
        state = await stages.run("regulator", partial(self._start_flow, generation, take))
        while not self._flow.done(state):
            state = await stages.run("cfm", partial(self._flow.step, state))
        mel = Mel(self._flow.finish(state))
        for work in self._networks.bigvgan.vocode_slices(mel, SLICE_FRAMES):
            yield await stages.run("vocoder", partial(_samples, work))
        yield ChunkReport(
            codes=generation.codes.shape[1], retries=retries, stage_s=dict(stages.seconds)
        )

    async def _generate(
        self, prepared: Prepared, take: Take[Voice], prompt: Prompt
    ) -> tuple[Generation, int]:
        """Codes that end by themselves; runaways and stumps are tried again with another seed.

        A stump is shorter than any reading of the text; the longest one serves when all are.
        """
        inference, stump = self._config.inference, None
        enough = inference.min_codes_per_text_token * len(prepared.token_ids)
        for attempt in range(inference.retries + 1):
            params = self._sampling(prepared, take, attempt, room=self._positions - prompt.shape[1])
            name = f"{take.request.request_id}/{take.chunk_index}/{attempt}"
            generation = await self._engine.generate(name, prompt, params, take.urgency)
            count = generation.codes.shape[1]
            looped = looped_tail(generation.codes[0].tolist())
            if not generation.stopped or not count or looped >= _RUNAWAY_CODES:
                continue
            if count >= enough:
                return generation, attempt
            if stump is None or count > stump.codes.shape[1]:
                stump = generation
        if stump is not None:
            return stump, inference.retries
        raise SynthesisFailed("the model did not come to an end with this text; try another seed")

    def _sampling(
        self, prepared: Prepared, take: Take[Voice], attempt: int, room: int
    ) -> SamplingParams:
        asked, default = take.request.sampling, self._config.inference
        budget = int(_SPARE_CODES + len(prepared.token_ids) * default.max_codes_per_text_token)

        def either(value: T | None, otherwise: T) -> T:
            return otherwise if value is None else value

        return SamplingParams(
            temperature=either(asked.temperature, default.temperature),
            top_k=either(asked.top_k, default.top_k),
            top_p=either(asked.top_p, default.top_p),
            repetition_penalty=either(asked.repetition_penalty, default.repetition_penalty),
            seed=_seed(take.request.seed, take.chunk_index, attempt),
            max_codes=min(budget, room, self._config.gpt.max_mel_tokens),
        )

    def _prompt(self, prepared: Prepared, voice: Voice, emotion: Tensor) -> Prompt:
        gpt = self._networks.gpt
        dtype = gpt.mel_head.weight.dtype
        ids = torch.tensor([prepared.token_ids], dtype=torch.long, device=self._device)
        return build_prompt(gpt, voice.conditioning.to(dtype), emotion.to(dtype), ids)

    def _start_flow(self, generation: Generation, take: Take[Voice]) -> FlowState:
        voice = take.voice
        condition = self._regulate_codes(generation.codes, generation.latents)
        frames = voice.ref_mel.shape[2] + condition.shape[1]
        noise = draw_noise(
            take.request.seed, take.chunk_index, self._networks.cfm.mel_channels, frames
        )
        mu = torch.cat((voice.prompt_condition, condition), dim=1)
        noise = noise * self._config.inference.cfm_temperature
        return self._flow.start(mu, voice.ref_mel, voice.style, noise)

    def _regulate_codes(self, codes: Codes, latents: Latents) -> Tensor:
        """Conditions of the target, ``[1, trunc(1.72 * S), C]`` (specification 7.1)."""
        known = self._networks.semantic_codec.vq2emb(codes).transpose(1, 2)
        features = known + self._networks.gpt_layer(latents)
        return self._regulate(features, target_length(codes.shape[1]))

    def _regulate(self, features: Tensor, frames: int) -> Tensor:
        wanted = torch.tensor([frames], device=features.device)
        regulated: Tensor = self._networks.length_regulator(features, wanted)
        return regulated


def _voice_encoder(
    networks: Networks, config: CheckpointConfig, regulate: Callable[[Tensor, int], Tensor]
) -> VoiceEncoder:
    dtype = networks.gpt.mel_head.weight.dtype
    preprocessing = config.s2mel.preprocess_params
    frames_per_s = preprocessing.sr / preprocessing.spect_params.hop_length
    return VoiceEncoder(
        w2v_bert=networks.w2v_bert,
        codec=networks.semantic_codec,
        campplus=networks.campplus,
        mel=networks.mel,
        regulate=regulate,
        condition=lambda features: networks.gpt.conditioning(Features(features.to(dtype))),
        feel=lambda features: networks.gpt.emotion_vector(Features(features.to(dtype))),
        sample_rate_hz=preprocessing.sr,
        fingerprint=fingerprint(
            {part: getattr(networks, part) for part in Networks.__slots__ if part != "mel"}
        ),
        device=networks.cfm.conv1.weight.device,
        prompt_frames=int(config.inference.prompt_s * frames_per_s),
    )


def _language(tag: str | None) -> Language | None:
    """The language of a tag such as ``zh-CN``; ``None`` leaves it to the text."""
    known: dict[str, Language] = {"zh": "zh", "en": "en"}
    return known.get((tag or "").lower().split("-")[0])


def _seed(seed: int, chunk_index: int, attempt: int) -> int:
    """A seed of this chunk and attempt alone."""
    words = np.random.SeedSequence((seed, chunk_index, attempt)).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


def _samples(work: Callable[[], Tensor]) -> Samples:
    """Float32 samples ``[n]`` of one vocoder item; raises ``SynthesisFailed`` for bad numbers."""
    samples: Samples = work()[0, 0].float().cpu().numpy()
    if not np.isfinite(samples).all():
        raise SynthesisFailed("the model's output is not a number")
    return samples
