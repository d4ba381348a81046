"""A voice of IndexTTS 1: what the GPT and the vocoder hear of its recordings (specification 3, 6).

Several recordings are one voice: each is encoded by itself, then their vectors are averaged, as
index-tts-vllm does it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from indextts.audio.mel_htk import HtkMelSpectrogram
from indextts.audio.reference import MAX_S, check_samples
from indextts.audio.resample import sinc_resample
from indextts.v1.config import MelConfig
from indextts.v1.gpt import V1Gpt
from indextts.v1.vocoder import BigVGAN
from indextts.voice_arrays import Arrays, dump_voice, load_voice
from streaming.errors import BadRecording
from streaming.speech import Recording, Urgency, Worker

MIN_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class V1Voice:
    """``conditioning [1, 32, D]`` for the GPT, ``speaker [1, S, 1]`` for the vocoder, float32."""

    conditioning: Tensor
    speaker: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class V1VoiceEncoder:
    """Recordings to a voice; ``fingerprint`` (hexadecimal) names the weights in what ``dump``
    writes.
    """

    gpt: V1Gpt
    bigvgan: BigVGAN
    mel: HtkMelSpectrogram
    sample_rate_hz: int
    fingerprint: str
    device: torch.device

    def spectrum(self, recording: Recording) -> Tensor:
        """Log-mel spectrogram ``[1, n_mels, T]`` of the first 15 s; raises ``BadRecording``."""
        rate_hz = recording.sample_rate_hz
        kept = recording.samples[: int(MAX_S * rate_hz)]
        check_samples(kept)
        if kept.size < MIN_S * rate_hz:
            raise BadRecording(f"the recording is shorter than {MIN_S:g} s")
        waveform = sinc_resample(torch.from_numpy(kept)[None], rate_hz, self.sample_rate_hz)
        spectrum: Tensor = self.mel(waveform)
        return spectrum.to(self.device)

    @torch.no_grad()
    def condition(self, mel: Tensor) -> Tensor:
        """``[1, n_mels, T]`` -> ``[1, 32, D]``."""
        frames = mel.transpose(1, 2).to(self.gpt.mel_head.weight.dtype)
        return self.gpt.conditioning(frames).float()

    @torch.no_grad()
    def recognise(self, mel: Tensor) -> Tensor:
        """``[1, n_mels, T]`` -> ``[1, S, 1]``."""
        vector: Tensor = self.bigvgan.speaker_encoder(mel)
        return vector

    async def encode_on(
        self, worker: Worker, recordings: Sequence[Recording], urgency: Urgency
    ) -> V1Voice:
        """The recordings one after the other, as items of the worker; raises ``BadRecording``."""
        if not recordings:
            raise BadRecording("a voice needs at least one recording")
        conditioning: list[Tensor] = []
        speakers: list[Tensor] = []
        for recording in recordings:
            mel = await asyncio.to_thread(self.spectrum, recording)
            for name, work, vectors in (
                ("conditioning", self.condition, conditioning),
                ("ecapa", self.recognise, speakers),
            ):
                item = partial(work, mel)
                vectors.append(await worker.run(item, urgency, name=f"voice.{name}"))
        return V1Voice(
            conditioning=torch.stack(conditioning).mean(0), speaker=torch.stack(speakers).mean(0)
        )

    def dump(self, voice: V1Voice) -> dict[str, NDArray[np.float32]]:
        """Plain float32 arrays, with the fingerprint of the model that made them."""
        return dump_voice(voice, {"weights": self.fingerprint})

    def load(self, arrays: Arrays) -> V1Voice:
        """The voice that ``dump`` wrote; ``ValueError`` when it is damaged or of another model."""
        dimensions = {"conditioning": 3, "speaker": 3}
        stored = load_voice(arrays, dimensions, {"weights": self.fingerprint})
        return V1Voice(**{name: tensor.to(self.device) for name, tensor in stored.items()})


def build_mel(config: MelConfig) -> HtkMelSpectrogram:
    """The spectrogram that recordings are heard through."""
    return HtkMelSpectrogram(
        sample_rate_hz=config.sample_rate,
        n_fft=config.n_fft,
        win_length=config.win_length,
        hop_length=config.hop_length,
        n_mels=config.n_mels,
        fmin_hz=config.mel_fmin,
    )
