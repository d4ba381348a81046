"""IndexTTS 1.0 and 1.5 as the pipeline sees them: codes, and sound from their states as they come.

The vocoder reads the states of the GPT directly, and its receptive field is finite: a slice of
codes is final as soon as ``context_frames`` more are there, so the first sound need not wait for
the chunk's last code (specification 5, 6).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial

import torch
from torch import Tensor

from indextts.engines.base import Engine, Generation, Progress
from indextts.speaking import CodeWriter, FamilyModel, Stages, describe, to_samples
from indextts.tensors import Prompt
from indextts.text.process import FrontendProcess
from indextts.v1.config import V1Config
from indextts.v1.gpt import V1Gpt
from indextts.v1.silence import SilenceFilter
from indextts.v1.vocoder import BigVGAN
from indextts.v1.voice import V1Voice, V1VoiceEncoder, build_mel
from indextts.voice_arrays import fingerprint
from streaming.errors import BadConfig
from streaming.request import Emotion, SynthesisRequest
from streaming.speech import ChunkReport, Prepared, Samples, Take, Worker

INTERJECTIONS = {"嗯": "EN4", "嘿": "HEI1", "嗨": "HAI4", "哈哈": "HA1HA1"}
"""How the pseudo-streaming fork reads them."""


class IndexTTS1(FamilyModel[V1Voice]):
    """The model family's implementation of ``streaming.speech.SpeechModel``.

    ``positions`` is what the engine has room for: prompt and codes of one chunk together.
    """

    def __init__(
        self,
        *,
        name: str,
        config: V1Config,
        gpt: V1Gpt,
        bigvgan: BigVGAN,
        frontend: FrontendProcess,
        engine: Engine,
        worker: Worker,
        positions: int,
    ) -> None:
        inference, rate_hz = config.inference, config.bigvgan.sampling_rate
        super().__init__(
            info=describe(name, config.version, rate_hz, config.gpt.max_text_tokens, inference),
            encoder=V1VoiceEncoder(
                gpt=gpt,
                bigvgan=bigvgan,
                mel=build_mel(config.dataset.mel),
                sample_rate_hz=config.dataset.mel.sample_rate,
                fingerprint=fingerprint({"gpt": gpt, "bigvgan": bigvgan}),
                device=gpt.mel_head.weight.device,
            ),
            frontend=frontend,
            writer=CodeWriter(
                engine=engine,
                defaults=inference,
                positions=positions,
                max_codes=config.gpt.max_mel_tokens,
            ),
            worker=worker,
            glossary=INTERJECTIONS if inference.interjections else None,
        )
        self._gpt, self._bigvgan = gpt, bigvgan
        self._slice_codes = inference.slice_codes
        self.stream_codes = inference.stream_codes

    def check(self, request: SynthesisRequest) -> None:
        """Raise ``BadConfig`` when an emotion is asked for: these models have none."""
        if request.emotion != Emotion():
            raise BadConfig("this model speaks without emotions", param="emotion")

    async def speak(
        self, prepared: Prepared, take: Take[V1Voice]
    ) -> AsyncIterator[Samples | ChunkReport]:
        """Waveform slices while codes are written, report. Raises ``SynthesisFailed``,
        ``EngineFailed``.
        """
        stages = Stages(worker=self._worker, urgency=take.urgency)
        prompt = await stages.run("prompt", partial(self._prompt, prepared, take.voice))
        conditions = await stages.run(
            "speaker", partial(self._bigvgan.conditions, take.voice.speaker)
        )
        progress = Progress()
        writing = asyncio.create_task(self._write(prepared, take, prompt, progress))
        try:
            slices = _Slices(progress, self._slice_codes, self._bigvgan.context_frames)
            while self.stream_codes and await slices.next():
                yield await stages.run("vocoder", partial(self._vocode, slices, conditions))
            generation, retries = await writing
            slices.complete(generation)
            while slices.more():
                yield await stages.run("vocoder", partial(self._vocode, slices, conditions))
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        yield ChunkReport(
            codes=generation.codes.shape[1], retries=retries, stage_s=dict(stages.seconds)
        )

    async def _write(
        self, prepared: Prepared, take: Take[V1Voice], prompt: Prompt, progress: Progress
    ) -> tuple[Generation, int]:
        try:
            return await self._writer.write(prepared, take, prompt, progress)
        finally:
            progress.close()

    def _prompt(self, prepared: Prepared, voice: V1Voice) -> Prompt:
        weight = self._gpt.mel_head.weight
        ids = torch.tensor([prepared.token_ids], dtype=torch.long, device=weight.device)
        return self._gpt.prompt(voice.conditioning.to(weight.dtype), ids)

    def _vocode(self, slices: _Slices, conditions: Sequence[Tensor]) -> Samples:
        latents, start, stop = slices.window()
        work = partial(self._bigvgan.vocode_slice, latents, start, stop, conditions)
        return to_samples(work)


class _Slices:
    """Which latents to vocode next: final ones only, with their context on both sides."""

    def __init__(self, progress: Progress, sizes: Sequence[int], context: int) -> None:
        self._progress, self._sizes, self._context = progress, sizes, context
        self._silence = SilenceFilter()
        self._seen = self._done = self._count = self._stop = 0
        self._latents: list[Tensor] = []

    async def next(self) -> bool:
        """Wait until another slice is final; False when the codes ended before."""
        self._aim()
        while len(self._latents) < self._stop + self._context:
            missing = self._stop + self._context - len(self._latents)
            if not await self._progress.read(self._seen + missing):
                return False
            self._keep(self._progress.codes, self._progress.states)
        return True

    def complete(self, generation: Generation) -> None:
        """All codes are there; when none was read before, they may be another attempt's."""
        self._keep(generation.codes[0].tolist(), generation.latents[0].unbind())

    def more(self) -> bool:
        """Whether there is another slice, after the codes ended."""
        self._aim()
        self._stop = min(self._stop, len(self._latents))
        return self._done < self._stop

    def window(self) -> tuple[Tensor, int, int]:
        """Latents ``[1, C, T]``, and the first and last frame of the slice in them."""
        start, stop = self._done, self._stop
        self._done, self._count = stop, self._count + 1
        first = max(0, start - self._context)
        window = torch.stack(self._latents[first : stop + self._context], dim=1)[None]
        return window, start - first, stop - first

    def _aim(self) -> None:
        self._stop = self._done + self._sizes[min(self._count, len(self._sizes) - 1)]

    def _keep(self, codes: Sequence[int], states: Sequence[Tensor]) -> None:
        for code, state in zip(codes[self._seen :], states[self._seen :], strict=True):
            if self._silence.keeps(code):
                self._latents.append(state)
        self._seen = len(states)
