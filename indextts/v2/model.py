"""IndexTTS-2 as the pipeline sees it: every stage as small items on the device worker."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from indextts.engines.base import Engine, Generation
from indextts.gpt.prompt import build_prompt
from indextts.speaking import CodeWriter, FamilyModel, Stages, describe, to_samples
from indextts.tensors import Codes, Features, Latents, Mel, Prompt
from indextts.text.process import FrontendProcess
from indextts.v2.config import CheckpointConfig
from indextts.v2.emotion_mixer import EmotionMixer
from indextts.v2.flow import FlowSampler, FlowState, draw_noise
from indextts.v2.networks import Networks
from indextts.v2.regulator import target_length
from indextts.v2.voice import Voice, VoiceEncoder
from indextts.voice_arrays import fingerprint
from streaming.request import SynthesisRequest
from streaming.speech import (
    ChunkReport,
    Prepared,
    Samples,
    Take,
    Urgency,
    Worker,
)

SLICE_FRAMES = (24, 48, 64)
"""Mel frames per vocoder item: a short first one, so that sound leaves early."""

_WHENEVER = Urgency(lead_s=lambda: float("inf"))


class IndexTTS2(FamilyModel[Voice]):
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
        inference, rate_hz = config.inference, config.s2mel.preprocess_params.sr
        info = describe(name, config.version, rate_hz, config.gpt.max_text_tokens, inference)
        super().__init__(
            info=replace(info, emotion_from_text=mixer.classifier is not None),
            encoder=_voice_encoder(networks, config, self._regulate),
            frontend=frontend,
            writer=CodeWriter(
                engine=engine,
                defaults=inference,
                positions=positions,
                max_codes=config.gpt.max_mel_tokens,
            ),
            worker=worker,
        )
        self._config, self._networks, self._mixer = config, networks, mixer
        self._device = networks.cfm.conv1.weight.device
        self._flow = FlowSampler(
            networks.cfm,
            steps=inference.cfm_steps,
            cfg_rate=inference.cfg_rate,
            cfg_cache_interval=inference.cfg_cache_interval,
        )

    def check(self, request: SynthesisRequest) -> None:
        """Raise ``BadConfig`` for an emotion that needs a classifier where there is none."""
        self._mixer.check(request)

    async def speak(
        self, prepared: Prepared, take: Take[Voice]
    ) -> AsyncIterator[Samples | ChunkReport]:
        """Codes, mel, waveform slices, report. Raises ``SynthesisFailed``, ``EngineFailed``."""
        stages = Stages(worker=self._worker, urgency=take.urgency)
        emotion = await stages.run("emotion", partial(self._mixer.mix, take))
        prompt = await stages.run("prompt", partial(self._prompt, prepared, take.voice, emotion))
        began = time.perf_counter()
        generation, retries = await self._writer.write(prepared, take, prompt)
        stages.seconds["gpt"] = time.perf_counter() - began
        state = await stages.run("regulator", partial(self._start_flow, generation, take))
        while not self._flow.done(state):
            state = await stages.run("cfm", partial(self._flow.step, state))
        mel = Mel(self._flow.finish(state))
        for work in self._networks.bigvgan.vocode_slices(mel, SLICE_FRAMES):
            yield await stages.run("vocoder", partial(to_samples, work))
        yield ChunkReport(
            codes=generation.codes.shape[1], retries=retries, stage_s=dict(stages.seconds)
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
