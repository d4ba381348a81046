"""The teacher: hibari-tts, which hands over exact phone durations with its speech.

One pass gives audio, phone ids and durations. Further speakers are made by scaling the F0 curve and
playing the waveform at another speed, which is a change of vocal-tract length and leaves nothing
unnatural behind, unlike a warp of the spectral envelopes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import hibari
import numpy as np
import onnx
import onnxruntime
import soxr
from numpy.typing import NDArray

from training.corpus import RATE_HZ
from training.people import Warp

TEACHER_RATE_HZ = 24000
DURATIONS = "/Clip_output_0"
"""Tensor of the teacher's graph that holds the phone durations, in units of 25 ms."""
RMS = 0.1
Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligned:
    """Phones of a text, with the silence before and after, and their durations."""

    phones: tuple[int, ...]
    durations: tuple[float, ...]
    """In units of 25 ms, one per phone."""


class Teacher:
    """hibari-tts with its phone durations exposed."""

    def __init__(self) -> None:
        self._tts = hibari.Hibari(threads=1)
        model = onnx.load(self._tts.model_path)
        pace = onnx.utils.Extractor(model).extract_model(["ids", "speed"], [DURATIONS])
        value = onnx.helper.make_tensor_value_info(DURATIONS, onnx.TensorProto.FLOAT, None)
        model.graph.output.append(value)
        self._full = self._session(model)
        self._pace = self._session(pace)

    @staticmethod
    def _session(model: Any) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    @property
    def symbols(self) -> dict[str, int]:
        """Phone symbol -> id."""
        return dict(self._tts.vocab)

    def phonemize(self, text: str) -> str:
        """Phone symbols of ``text``, words separated by spaces."""
        return " ".join(self._tts.phonemize(text))

    def _inputs(
        self, phonemes: str, speed: float = 1.0
    ) -> tuple[tuple[int, ...], dict[str, NDArray[Any]]]:
        ids = tuple(int(i) for i in self._tts.ids(phonemes))
        return ids, {"ids": np.asarray([ids], np.int64), "speed": np.full(1, speed, np.float32)}

    def align(self, phonemes: str) -> Aligned:
        """Durations alone: a fraction of the cost of speech."""
        ids, inputs = self._inputs(phonemes)
        durations = self._pace.run([DURATIONS], inputs)[0].reshape(-1)
        return Aligned(phones=ids, durations=tuple(int(d) for d in durations))

    def speak(self, phonemes: str, warp: Warp, seed: int) -> tuple[Array, Aligned]:
        """Speech at 22,050 Hz with an RMS of 0.1, and its alignment.

        Another size is another playback speed, for which the teacher's pace makes up.
        """
        ids, inputs = self._inputs(phonemes, 1 / warp.size)
        names = ["lh", "theta", "ln", "lr", "phi", "f0", DURATIONS]
        *spectra, durations = self._full.run(names, inputs)
        *parts, f0 = (spectrum[0] for spectrum in spectra)
        f0 = (f0 * warp.f0_scale).astype(np.float32)
        wave = hibari.dsp.synth(*parts, f0, np.random.default_rng(seed)).astype(np.float32)
        wave = soxr.resample(wave, TEACHER_RATE_HZ * warp.size, RATE_HZ)
        level = RMS / (float(np.sqrt(np.mean(wave**2))) + 1e-6)
        lengths = tuple(round(float(d) / warp.size, 3) for d in durations.reshape(-1))
        return np.clip(wave * level, -0.99, 0.99), Aligned(phones=ids, durations=lengths)
