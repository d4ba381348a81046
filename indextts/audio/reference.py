"""From checked recordings to the two signals that a voice is encoded from (specification 4.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from indextts.audio.fbank import SAMPLE_RATE_HZ as ENCODER_RATE_HZ
from indextts.audio.resample import load_resample, sinc_resample
from streaming.errors import BadRecording
from streaming.speech import Recording

MIN_S = 1.0
MAX_S = 15.0
_SILENCE = 1e-4
_LOUDEST = 4.0
# Enough beyond the cut that the resampler's filter sees what it would have seen.
_MARGIN_S = 0.1
_EPSILON = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """One voice as float32 ``[1, n]`` at the model's rate, and at 16 kHz made from that."""

    waveform: Tensor
    waveform_16k: Tensor


def read_reference(recordings: Sequence[Recording], sample_rate_hz: int) -> Reference:
    """Join the recordings of one voice to at most 15 s, in which all of them are heard.

    Each has an equal share of the 15 s; what a short one leaves goes to the longer ones. An
    emotion reference takes the same way, so that one encoding serves a recording in both roles;
    upstream reads it at 16 kHz directly, which differs by the resampler only. Raises
    ``BadRecording`` for what is not finite, silent, clipped beyond reason or too short.
    """
    if not recordings:
        raise BadRecording("a voice needs at least one recording")
    lengths = [recording.samples.size / recording.sample_rate_hz for recording in recordings]
    parts: list[np.ndarray] = []
    for recording, share_s in zip(recordings, _shares(lengths, MAX_S), strict=True):
        kept = recording.samples[: int((share_s + _MARGIN_S) * recording.sample_rate_hz)]
        check_samples(kept)
        part = load_resample(kept, recording.sample_rate_hz, sample_rate_hz)
        parts.append(part[: math.ceil(share_s * sample_rate_hz - _EPSILON)])
    joined = np.concatenate(parts)[: int(MAX_S * sample_rate_hz)]
    if joined.size < MIN_S * sample_rate_hz:
        raise BadRecording(f"the recording is shorter than {MIN_S:g} s")
    waveform = torch.from_numpy(joined)[None]
    return Reference(
        waveform=waveform,
        waveform_16k=sinc_resample(waveform, sample_rate_hz, ENCODER_RATE_HZ),
    )


def _shares(lengths: Sequence[float], whole: float) -> list[float]:
    """How much of ``whole`` each gets: as much as it has, or the same as the other long ones."""
    shares = [0.0] * len(lengths)
    for left, nth in zip(range(len(lengths), 0, -1), np.argsort(lengths), strict=True):
        shares[nth] = min(lengths[nth], whole / left)
        whole -= shares[nth]
    return shares


def check_samples(samples: np.ndarray) -> None:
    """Raise ``BadRecording`` for what is not finite, silent or far too loud."""
    if samples.ndim != 1 or samples.dtype != np.float32:
        raise BadRecording("the recording is not mono audio")
    peak = float(np.abs(samples).max(initial=0.0))
    if not np.isfinite(peak):
        raise BadRecording("the recording holds values that are not numbers")
    if peak > _LOUDEST:
        raise BadRecording("the recording is far louder than full scale")
    if peak < _SILENCE:
        raise BadRecording("the recording is silent")
