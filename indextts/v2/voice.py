"""A voice: everything that depends on its recordings alone, computed once (specification 2).

``VoiceEncoder`` runs the recordings through the encoders in steps that a device worker can take
one at a time.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from indextts.audio.fbank import campplus_features, seamless_features
from indextts.audio.mel import MelSpectrogram
from indextts.audio.reference import Reference, read_reference
from indextts.tensors import Features, Mel, Style
from indextts.v2.campplus import Campplus
from indextts.v2.semantic import SemanticCodec
from indextts.v2.w2v_bert import W2vBert
from indextts.voice_arrays import Arrays, dump_voice, load_voice
from streaming.speech import Recording, Urgency, Worker

Step: TypeAlias = tuple[str, Callable[[], Tensor]]

_DIMENSIONS = {"style": 2, "ref_mel": 3, "prompt_condition": 3, "conditioning": 3, "emotion": 2}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Voice:
    """What the models need to know of a voice, float32.

    ``style`` ``[1, 192]``, ``ref_mel`` ``[1, n_mels, T]``, ``prompt_condition`` ``[1, T, C]``
    (what the acoustic model continues), ``conditioning`` ``[1, 32, D]`` (what the GPT hears of
    the speaker) and ``emotion`` ``[1, D]`` (how the recording sounds).
    """

    style: Style
    ref_mel: Mel
    prompt_condition: Tensor
    conditioning: Tensor
    emotion: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VoiceEncoder:
    """Recordings to a voice.

    The encoders run in float32 on ``device``, ``mel`` wherever it lies. ``regulate`` maps
    quantized features ``[1, T, W]`` and a number of frames to ``[1, frames, C]``; ``condition``
    and ``feel`` map features ``[1, T, W]`` to the GPT's conditioning ``[1, 32, D]`` and emotion
    vector ``[1, D]``. ``fingerprint`` (hexadecimal) names the weights in what ``dump`` writes. The
    acoustic model's prompt is the first ``prompt_frames`` of the recordings.
    """

    w2v_bert: W2vBert
    codec: SemanticCodec
    campplus: Campplus
    mel: MelSpectrogram
    regulate: Callable[[Tensor, int], Tensor]
    condition: Callable[[Tensor], Tensor]
    feel: Callable[[Tensor], Tensor]
    sample_rate_hz: int
    fingerprint: str
    device: torch.device
    prompt_frames: int = 1 << 20

    def features(self, reference: Reference) -> Features:
        """Normalised w2v-BERT features ``[1, T, W]``."""
        inputs, mask = seamless_features(reference.waveform_16k)
        return Features(self.w2v_bert(inputs.to(self.device), mask.to(self.device)))

    def style(self, reference: Reference) -> Style:
        """CAMPPlus vector ``[1, 192]``."""
        return Style(self.campplus(campplus_features(reference.waveform_16k).to(self.device)))

    def ref_mel(self, reference: Reference) -> Mel:
        """Log-mel spectrogram ``[1, n_mels, T]``."""
        return Mel(self.mel(reference.waveform.to(self.mel.basis.device)).to(self.device))

    def steps(self, reference: Reference) -> Generator[Step, Tensor, Voice]:
        """The work in order: yields a name and a function, is sent what the function returned.

        The functions belong on the device worker; the generator itself costs nothing.
        """
        features = yield "w2v_bert", lambda: self.features(reference)
        semantic = yield "semantic_codec", lambda: self.codec.quantize(features)[1]
        style = yield "campplus", lambda: self.style(reference)
        whole_mel = yield "mel", lambda: self.ref_mel(reference)
        ref_mel = whole_mel[..., : self.prompt_frames]
        frames = ref_mel.shape[2]
        heard = math.ceil(semantic.shape[1] * frames / whole_mel.shape[2])
        prompt = yield "length_regulator", lambda: self.regulate(semantic[:, :heard], frames)
        conditioning = yield "conditioning", lambda: self.condition(features)
        emotion = yield "emotion", lambda: self.feel(features)
        return Voice(
            style=Style(style),
            ref_mel=Mel(ref_mel),
            prompt_condition=prompt,
            conditioning=conditioning,
            emotion=emotion,
        )

    def encode(self, recordings: Sequence[Recording]) -> Voice:
        """All steps here and now; raises ``BadRecording``."""
        steps = self.steps(read_reference(recordings, self.sample_rate_hz))
        try:
            _, work = next(steps)
            while True:
                _, work = steps.send(_without_gradients(work))
        except StopIteration as done:
            return cast(Voice, done.value)

    async def encode_on(
        self, worker: Worker, recordings: Sequence[Recording], urgency: Urgency
    ) -> Voice:
        """Each step as one item of the worker, reading off the loop; raises ``BadRecording``.

        A cancelled caller leaves at most the item that has begun.
        """
        reference = await asyncio.to_thread(read_reference, recordings, self.sample_rate_hz)
        steps = self.steps(reference)
        name, work = next(steps)
        while True:
            item = partial(_without_gradients, work)
            result = await worker.run(item, urgency, name=f"voice.{name}")
            try:
                name, work = steps.send(result)
            except StopIteration as done:
                return cast(Voice, done.value)

    def dump(self, voice: Voice) -> dict[str, NDArray[np.float32]]:
        """Plain float32 arrays, with the fingerprint of the model that made them."""
        return dump_voice(voice, self._mark())

    def load(self, arrays: Arrays) -> Voice:
        """The voice that ``dump`` wrote; ``ValueError`` when it is damaged or of another model."""
        stored = load_voice(arrays, _DIMENSIONS, self._mark())
        tensors = {name: tensor.to(self.device) for name, tensor in stored.items()}
        if tensors["ref_mel"].shape[-1] != tensors["prompt_condition"].shape[1]:
            raise ValueError("the stored voice is damaged: its parts differ in length")
        return Voice(
            style=Style(tensors["style"]),
            ref_mel=Mel(tensors["ref_mel"]),
            prompt_condition=tensors["prompt_condition"],
            conditioning=tensors["conditioning"],
            emotion=tensors["emotion"],
        )

    def _mark(self) -> dict[str, int | str]:
        return {"weights": self.fingerprint, "prompt_frames": self.prompt_frames}


def _without_gradients(work: Callable[[], Tensor]) -> Tensor:
    with torch.no_grad():
        return work().float()
