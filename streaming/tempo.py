"""How fast a stream is spoken, without a change of its pitch.

FFmpeg's ``atempo`` (waveform-similarity overlap-add) through PyAV, which is loaded when a speed
other than 1 is first asked for: listeners install without it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from streaming.speech import Samples

_STEP = 2.0
"""Largest change of one filter: beyond it ``atempo`` skips samples instead of blending them."""

_BLOCK_MS = 20
"""What the filter is fed at a time: its choices depend on how its input is cut."""

_TAIL_MS = 100
"""Mirrored sound behind the end, longer than the filter's window: it gives out what it holds."""


class Tempo:
    """Speaks one stream of mono samples ``speed`` times as fast; ``push``, then ``flush`` once.

    ``n`` samples in give exactly ``round(n / speed)`` out (halves up), however they are cut. Speed
    1 passes samples through untouched.
    """

    def __init__(self, *, sample_rate_hz: int, speed: float) -> None:
        self._block = sample_rate_hz * _BLOCK_MS // 1000
        self._tail_samples = sample_rate_hz * _TAIL_MS // 1000
        self._speed = speed
        self._filter = None if speed == 1 else _Stretcher(sample_rate_hz, speed)
        self._held = self._tail = self._early = np.zeros(0, np.float32)
        self._taken = 0
        self._given = 0

    def push(self, samples: Samples) -> Samples:
        """What is ready after these samples; some 70 ms stay back."""
        if self._filter is None or not len(samples):
            return samples
        self._taken += len(samples)
        self._held = np.concatenate([self._held, samples])
        ready = len(self._held) - len(self._held) % self._block
        blocks, self._held = self._held[:ready].reshape(-1, self._block), self._held[ready:]
        self._tail = np.concatenate([self._tail, samples])[-self._tail_samples :]
        return self._within([self._filter.push(one) for one in blocks])

    def flush(self) -> Samples:
        """What is left."""
        if self._filter is None or not self._taken:
            return np.zeros(0, np.float32)
        mirrored = np.pad(self._tail, (0, self._tail_samples), mode="symmetric")
        last = np.concatenate([self._held, mirrored[len(self._tail) :]])
        rest = self._within([self._filter.push(last), self._filter.flush()])
        return np.pad(rest, (0, self._due - self._given))

    @property
    def _due(self) -> int:
        return int(self._taken / self._speed + 0.5)

    def _within(self, pieces: list[Samples]) -> Samples:
        """Hold what comes before it is due: the filter may run ahead, never the stream."""
        samples = np.concatenate([self._early, *pieces])
        ready = self._due - self._given
        samples, self._early = samples[:ready], samples[ready:]
        self._given += len(samples)
        return samples


def load() -> None:
    """Load PyAV and its filters; blocking, so that no event loop has to wait for it later."""
    _Stretcher(8_000, _STEP)


class _Stretcher:
    """A chain of ``atempo`` filters, none of which changes the speed by more than ``_STEP``."""

    def __init__(self, sample_rate_hz: int, speed: float) -> None:
        import av
        import av.filter

        self._frame = av.AudioFrame
        self._nothing_yet = (av.BlockingIOError, av.EOFError)
        self._rate_hz = sample_rate_hz
        self._samples = 0
        self._graph = av.filter.Graph()
        links = [
            self._graph.add_abuffer(
                format="flt",
                sample_rate=sample_rate_hz,
                layout="mono",
                time_base=Fraction(1, sample_rate_hz),
            )
        ]
        while not 1 / _STEP <= speed <= _STEP:
            step = _STEP if speed > 1 else 1 / _STEP
            links.append(self._graph.add("atempo", str(step)))
            speed /= step
        links += [self._graph.add("atempo", f"{speed:.9f}"), self._graph.add("abuffersink")]
        self._graph.link_nodes(*links).configure()

    def push(self, samples: Samples) -> Samples:
        frame = self._frame.from_ndarray(samples.reshape(1, -1), format="flt", layout="mono")
        frame.sample_rate = self._rate_hz
        frame.pts = self._samples
        self._samples += len(samples)
        self._graph.push(frame)
        return self._pull()

    def flush(self) -> Samples:
        self._graph.push(None)
        return self._pull()

    def _pull(self) -> Samples:
        pieces: list[Any] = [np.zeros(0, np.float32)]
        while True:
            try:
                pieces.append(self._graph.pull().to_ndarray()[0])
            except self._nothing_yet:
                return np.concatenate(pieces)
