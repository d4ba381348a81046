"""Checked recordings: the only decoder of untrusted audio.

Everything blocks; callers on an event loop use a thread.
"""

from __future__ import annotations

import hashlib
import io
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from streaming.errors import BadRecording
from streaming.speech import Recording, Samples

FORMATS = frozenset({"WAV", "WAVEX", "FLAC", "MP3", "OGG"})
"""Container names of libsndfile that are accepted."""

BLOCK_FRAMES = 16_384
"""Frames decoded at a time, so that a small file never becomes a big array."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingLimits:
    """What a reference recording may be (docs/server.md).

    Recordings longer than ``keep_s`` and up to ``max_s`` are cut to ``keep_s`` with a warning.
    """

    max_bytes: int = 10_000_000
    min_s: float = 1.0
    keep_s: float = 15.0
    max_s: float = 30.0
    min_rate_hz: int = 8_000
    max_rate_hz: int = 192_000
    max_channels: int = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedRecording:
    """A checked recording and what its owner should know about it (safe to show)."""

    recording: Recording
    warning: str | None = None


DEFAULT_LIMITS = RecordingLimits()


def load_recording(
    source: Path | bytes, *, limits: RecordingLimits = DEFAULT_LIMITS
) -> LoadedRecording:
    """Decode a file or the bytes of one (wav, flac, mp3, ogg) to mono float32 at its own rate.

    Raises ``BadRecording``, whose message never names a path.
    """
    data = _read(source, limits.max_bytes) if isinstance(source, Path) else source
    check_size(data, limits)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            samples, rate_hz = _decode(sound, limits)
    except (soundfile.SoundFileError, RuntimeError, ValueError, OSError) as error:
        raise BadRecording("the recording is not wav, flac, mp3 or ogg audio") from error
    warning = None
    if len(samples) > limits.keep_s * rate_hz:
        warning = (
            f"the recording is {len(samples) / rate_hz:.1f} s long; "
            f"only its first {limits.keep_s:g} s are used"
        )
        samples = samples[: int(limits.keep_s * rate_hz)].copy()
    recording = Recording(
        samples=samples, sample_rate_hz=rate_hz, sha256=hashlib.sha256(data).hexdigest()
    )
    return LoadedRecording(recording=recording, warning=warning)


def check_size(data: bytes, limits: RecordingLimits = DEFAULT_LIMITS) -> None:
    """Raise ``BadRecording`` for too few bytes or too many."""
    if len(data) > limits.max_bytes:
        raise BadRecording(f"the recording is bigger than {limits.max_bytes // 1_000_000} MB")
    if not data:
        raise BadRecording("the recording is empty")


def _read(path: Path, max_bytes: int) -> bytes:
    """At most one byte more than is allowed, from a regular file only (a pipe would block)."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BadRecording("the recording is not a regular file")
        with path.open("rb") as file:
            return file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise BadRecording("the recording cannot be read") from error


def _decode(sound: soundfile.SoundFile, limits: RecordingLimits) -> tuple[Samples, int]:
    """Channel means as ``[n]`` and the rate, stopping as soon as a limit is passed."""
    rate_hz, channels = int(sound.samplerate), int(sound.channels)
    if sound.format not in FORMATS:
        raise BadRecording("the recording is not wav, flac, mp3 or ogg audio")
    if not limits.min_rate_hz <= rate_hz <= limits.max_rate_hz:
        raise BadRecording(
            f"the recording's rate is {rate_hz} Hz; "
            f"{limits.min_rate_hz} to {limits.max_rate_hz} Hz are accepted"
        )
    if channels > limits.max_channels:
        raise BadRecording(
            f"the recording has {channels} channels; at most {limits.max_channels} are accepted"
        )
    blocks: list[Samples] = []
    total = 0
    while len(block := sound.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
        total += len(block)
        if total > limits.max_s * rate_hz:
            raise BadRecording(f"the recording is longer than {limits.max_s:g} s")
        if not np.isfinite(block).all():
            raise BadRecording("the recording holds samples that are not finite numbers")
        blocks.append(np.clip(block, -1.0, 1.0).mean(axis=1, dtype=np.float32))
    if total < limits.min_s * rate_hz:
        raise BadRecording(f"the recording is shorter than {limits.min_s:g} s")
    return np.concatenate(blocks), rate_hz
