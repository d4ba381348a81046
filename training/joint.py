"""Stage ``joint``: the DiT and the vocoder learn from what the stages before them make.

Until here the DiT has heard the teacher's codes, the vocoder the teacher's mels. Now the DiT's
prompt has the codes that the encoder hears in it, its target those that the GPT chooses at each
place (after the true ones, so that they stay aligned), and half of the vocoder's mels are the
DiT's. In turns; the result replaces both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from indextts.audio.fbank import SAMPLE_RATE_HZ, seamless_features
from indextts.audio.mel import MelSpectrogram
from indextts.audio.resample import sinc_resample
from indextts.gpt.model import EmotiveGpt
from indextts.gpt.prompt import build_prompt, latent_pass
from indextts.tensors import Codes, Features, Mel
from indextts.v2.config import CheckpointConfig
from indextts.v2.flow import FlowSampler
from indextts.v2.gpt import build_gpt
from indextts.v2.regulator import target_length
from training.acoustic import HOP_SAMPLES, AcousticTask, Pieces
from training.corpus import RATE_HZ, Line, Speech, codes_of
from training.listening import EncoderTask, SpeakerTask, reference_styles
from training.settings import Recipe
from training.text import Pieces as TextPieces
from training.vocoder import VocoderTask

LINES = 240
"""Utterances of the corpus that the stage is about."""
MADE = 96
"""Of these, how many are spoken by the DiT."""
SAMPLES = 8192
Array = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A mel ``[80, T]`` that the DiT made, and the samples ``[n]`` it should have become."""

    mel: Tensor
    wave: Tensor


class Chain:
    """The trained stages, used as inference uses them."""

    def __init__(self, config: CheckpointConfig, speech: Speech, encoder: EncoderTask) -> None:
        self._speech, self._encoder = speech, encoder
        self._frames_per_s = RATE_HZ / HOP_SAMPLES
        self._inference, self._mel = config.inference, MelSpectrogram()
        self.gpt: EmotiveGpt = build_gpt(config.gpt, config.conditioning_input)

    def features(self, line: Line) -> Tensor:
        """w2v-BERT features ``[1, T, width]`` of an utterance."""
        wave = sinc_resample(self._speech.wave(line)[None], RATE_HZ, SAMPLE_RATE_HZ)
        features: Tensor = self._encoder.w2v(*seamless_features(wave))
        return features

    def heard(self, line: Line) -> Array:
        """The codes that the encoder hears, as many as there are."""
        found, true = (
            self._encoder.codec.quantize(self.features(line))[0][0].numpy(),
            codes_of(line),
        )
        return np.pad(found, (0, max(0, len(true) - len(found))), mode="edge")[: len(true)]

    def chosen(self, line: Line, vocabulary: TextPieces) -> Array:
        """The likeliest code of the GPT at each place, the true ones before it."""
        true = torch.from_numpy(codes_of(line))[None]
        ids = torch.tensor([vocabulary.ids(line.text)])
        sizes = self.gpt.sizes
        if ids.shape[1] > sizes.max_text_tokens or true.shape[1] > sizes.max_codes:
            return codes_of(line)
        conds = self.gpt.conditioning(Features(self.features(line)))
        prompt = build_prompt(self.gpt, conds, conds.new_zeros(1, sizes.width), ids)
        logits = self.gpt.mel_head(latent_pass(self.gpt, prompt, Codes(true)))
        likeliest: Array = logits[0, :, : sizes.start_code].argmax(-1).numpy()
        return likeliest

    def made(self, task: AcousticTask, line: Line, before: Line, style: Tensor) -> Made:
        """``line`` as the DiT says it after a prompt of the same speaker."""
        inference = self._inference
        wave = self._speech.wave(line)
        heard = int(inference.prompt_s * self._frames_per_s)
        prompt = self._mel(self._speech.wave(before)[None])[..., :heard]
        heard = prompt.shape[-1]
        known = self.heard(before)[: round(heard / self._frames_per_s * 50)]
        codes = codes_of(line)
        wanted = target_length(len(codes))
        mu = torch.cat(
            [self._condition(task, known, heard), self._condition(task, codes, wanted)], dim=1
        )
        sampler = FlowSampler(task.dit, steps=inference.cfm_steps, cfg_rate=inference.cfg_rate)
        noise = torch.randn(1, prompt.shape[1], mu.shape[1]) * inference.cfm_temperature
        state = sampler.start(mu, Mel(prompt), style[None], noise)
        while not sampler.done(state):
            state = sampler.step(state)
        frames = min(wanted, len(wave) // HOP_SAMPLES)
        mel = sampler.finish(state)[0, :, :frames]
        return Made(mel=mel.clone(), wave=wave[: frames * HOP_SAMPLES])

    @staticmethod
    def _condition(task: AcousticTask, codes: Array, frames: int) -> Tensor:
        features = task.codec.vq2emb(torch.from_numpy(codes)[None]).transpose(1, 2)
        condition: Tensor = task.regulator(features, torch.tensor([frames]))
        return condition


class JointTask:
    """In turns a step of the DiT and one of the vocoder."""

    def __init__(
        self, acoustic: AcousticTask, vocoder: VocoderTask, made: Sequence[Made], batch: int
    ) -> None:
        self.module: nn.Module = nn.ModuleDict(
            {"s2mel": acoustic.module, "vocoder": vocoder.module}
        )
        self.optimizers = [*acoustic.optimizers, *vocoder.optimizers]
        self._acoustic, self._vocoder, self._made, self._batch = acoustic, vocoder, made, batch
        self._frames, self._turn = SAMPLES // HOP_SAMPLES, 0
        self._mel = MelSpectrogram()

    def loss(self, progress: float) -> tuple[Tensor, Mapping[str, float]]:
        """The loss of whose turn it is."""
        self._turn += 1
        if self._turn % 2:
            return self._acoustic.loss(progress)
        pieces = [self._piece() for _ in range(self._batch)]
        real = torch.stack([wave for wave, _ in pieces])
        own = self._mel(real)
        mel = torch.stack([made for _, made in pieces])
        foreign = (torch.rand(self._batch) < 0.5)[:, None, None]
        return self._vocoder.compare(real, torch.where(foreign, mel, own))

    def _piece(self) -> tuple[Tensor, Tensor]:
        made = self._made[int(torch.randint(len(self._made), ()))]
        first = int(torch.randint(made.mel.shape[1] - self._frames + 1, ()))
        mel = made.mel[:, first : first + self._frames]
        return made.wave[first * HOP_SAMPLES :][:SAMPLES], mel


def joint_task(runs: Path, recipe: Recipe, batch: int, frames: int) -> JointTask:
    """The task on top of every other stage in ``runs``; raises ``FileNotFoundError`` without."""
    from training.stages import pieces, weights

    vocabulary, whole = pieces(runs), Speech.load(runs)
    config = recipe.checkpoint_config(vocabulary.size)
    long = [line for line in whole.lines if line.samples >= 2 * SAMPLES]
    lines = [long[i] for i in torch.randperm(len(long))[:LINES].tolist()]
    speech = Speech(lines=lines, pcm=whole.pcm)
    encoder, speaker = EncoderTask(config, speech), SpeakerTask(config, speech)
    encoder.module.load_state_dict(weights(runs, "encoder"))
    _load_speaker(speaker, weights(runs, "speaker"))
    styles = reference_styles(speaker.encoder, speech, each=8)
    acoustic = AcousticTask(config, speech, styles, frames=frames)
    acoustic.module.load_state_dict(weights(runs, "s2mel"))
    vocoder = VocoderTask(recipe.bigvgan_config(), speech, batch=batch)
    vocoder.module.load_state_dict(weights(runs, "vocoder"))
    chain = Chain(config, speech, encoder)
    chain.gpt.load_state_dict(weights(runs, "gpt"))
    for module in (encoder.module, acoustic.module, chain.gpt):
        module.eval()
    with torch.inference_mode():
        acoustic.prompts = Pieces(speech, known({line: chain.heard(line) for line in lines}))
        acoustic.targets = Pieces(
            speech, known({line: chain.chosen(line, vocabulary) for line in lines})
        )
        made = [
            chain.made(acoustic, line, _other(lines, line), styles[line.speaker][0])
            for line in lines[:MADE]
        ]
    acoustic.module.train()
    return JointTask(acoustic, vocoder, [_plain(one) for one in made], batch)


def known(codes: Mapping[Line, Array]) -> Callable[[Line], Array]:
    """Looks the codes of a line up."""
    return codes.__getitem__


def _load_speaker(task: SpeakerTask, state: Mapping[str, Tensor]) -> None:
    encoder = {k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")}
    task.encoder.load_state_dict(encoder)


def _other(lines: Sequence[Line], line: Line) -> Line:
    """Another line of the same speaker, or the same one when there is none."""
    return next((o for o in lines if o.speaker == line.speaker and o is not line), line)


def _plain(made: Made) -> Made:
    """Tensors that gradients may pass."""
    return Made(mel=made.mel.clone(), wave=made.wave.clone())
