"""The teacher: hibari-tts, which hands over exact phone durations with its speech.

One pass gives audio, phone ids and durations. Further speakers are made by scaling the F0 curve and
warping the frequency axis of the spectral envelopes before the waveform is built, which is a change
of vocal-tract length, not of playback speed.
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

TEACHER_RATE_HZ = 24000
DURATIONS = "/Clip_output_0"
"""Tensor of the teacher's graph that holds the phone durations, in units of 25 ms."""
RMS = 0.1
Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Warp:
    """How a speaker differs from the teacher's own voice."""

    f0_scale: float
    formant_scale: float


SPEAKERS: dict[str, Warp] = {
    "ada": Warp(f0_scale=1.0, formant_scale=1.0),
    "boris": Warp(f0_scale=0.55, formant_scale=0.86),
    "clara": Warp(f0_scale=0.75, formant_scale=0.93),
    "dana": Warp(f0_scale=1.18, formant_scale=1.10),
    "emil": Warp(f0_scale=0.62, formant_scale=0.95),
    "flora": Warp(f0_scale=0.9, formant_scale=1.05),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligned:
    """Phones of a text, with the silence before and after, and their durations."""

    phones: tuple[int, ...]
    durations: tuple[int, ...]
    """In units of 25 ms, one per phone."""


def _warp(envelope: Array, scale: float) -> Array:
    """``envelope`` [bins, frames] with formants moved by ``scale`` (above 1 is upwards)."""
    last = envelope.shape[0] - 1.001
    position = np.clip(np.arange(envelope.shape[0]) / scale, 0, last)
    low = position.astype(int)
    share = (position - low).astype(np.float32)[:, None]
    warped: Array = envelope[low] * (1 - share) + envelope[low + 1] * share
    return np.ascontiguousarray(warped)


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

    def _inputs(self, phonemes: str) -> tuple[tuple[int, ...], dict[str, NDArray[Any]]]:
        ids = tuple(int(i) for i in self._tts.ids(phonemes))
        return ids, {"ids": np.asarray([ids], np.int64), "speed": np.ones(1, np.float32)}

    def align(self, phonemes: str) -> Aligned:
        """Durations alone: a fraction of the cost of speech."""
        ids, inputs = self._inputs(phonemes)
        durations = self._pace.run([DURATIONS], inputs)[0].reshape(-1)
        return Aligned(phones=ids, durations=tuple(int(d) for d in durations))

    def speak(self, phonemes: str, warp: Warp, seed: int) -> tuple[Array, Aligned]:
        """Speech at 22,050 Hz with an RMS of 0.1, and its alignment."""
        ids, inputs = self._inputs(phonemes)
        names = ["lh", "theta", "ln", "lr", "phi", "f0", DURATIONS]
        *spectra, durations = self._full.run(names, inputs)
        harmonic, theta, noise, free, phase, f0 = (spectrum[0] for spectrum in spectra)
        if warp.formant_scale != 1.0:
            harmonic, theta, noise = (
                _warp(x, warp.formant_scale) for x in (harmonic, theta, noise)
            )
            free = np.full_like(free, -20.0)  # phases of the residual do not survive a warp
        f0 = (f0 * warp.f0_scale).astype(np.float32)
        rng = np.random.default_rng(seed)
        wave = hibari.dsp.synth(harmonic, theta, noise, free, phase, f0, rng)
        wave = soxr.resample(wave.astype(np.float32), TEACHER_RATE_HZ, RATE_HZ)
        level = RMS / (float(np.sqrt(np.mean(wave**2))) + 1e-6)
        aligned = Aligned(phones=ids, durations=tuple(int(d) for d in durations.reshape(-1)))
        return np.clip(wave * level, -0.99, 0.99).astype(np.float32), aligned
